"""The command line in this process."""

from typer.testing import CliRunner

from frdiff.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def the_line(result, kind="error", status=1):
    """What follows `kind: ` on the only line that a command wrote."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"{kind}: ")
    return line.removeprefix(f"{kind}: ")
