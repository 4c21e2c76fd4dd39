"""The command line, one module per group of commands; they display what the library returns.

These modules import nothing heavy before a command runs, so that help comes at once.
"""

import warnings
from typing import Annotated

import typer
from rich.markup import escape

from frdiff.cli import app as app_command
from frdiff.cli import bench, fit, generate, inspect, models, policies, tune, walk
from frdiff.cli.errors import OneLineErrors
from frdiff.cli.shared import err
from frdiff.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Diffusion pipelines faster without retraining, by reusing features between steps.",
)
for command in (
    generate.generate,
    tune.tune,
    fit.fit,
    walk.walk,
    inspect.inspect,
    models.models,
    policies.policies,
    app_command.app,
    bench.bench,
    bench.report,
    bench.analyze,
):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"frdiff {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", envvar="FRDIFF_TRACEBACK", help="Show where errors come from."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    warnings.showwarning = lambda message, *_: err.print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False
    )
    app()
