"""The command line, one module per group of commands; they display what the library returns."""

import warnings
from typing import Any

import diffusers
import transformers
import typer
from rich.markup import escape
from typer.core import TyperGroup

from frdiff.cli import bench, generate, inspect, tune
from frdiff.cli.shared import err

__all__ = ["app", "main"]


class _OneLineErrors(TyperGroup):
    """Turns errors of the library into one line and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, typer.Exit | typer.Abort):
                raise
            text = escape(" ".join(str(error).split()))
            err.print(f"[bold red]error:[/] {text}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    help="Diffusion pipelines faster without retraining, by reusing features between steps.",
)
for command in (
    generate.generate,
    tune.tune,
    inspect.inspect,
    bench.bench,
    bench.report,
    bench.analyze,
):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.showwarning = lambda message, *_: err.print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False
    )
    app()
