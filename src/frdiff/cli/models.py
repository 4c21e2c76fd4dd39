"""`frdiff models`: denoiser classes at their published sizes, which needs no weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from frdiff.cli.shared import AsJson, err, out, print_json, progress, silence

if TYPE_CHECKING:
    from frdiff.catalogue.table import ModelCosts


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models or classes of diffusers, such as SDXL; all if none is named."),
    ] = None,
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page of the docs instead of a table.")
    ] = False,
) -> None:
    """Show targets, costs and bytes of denoiser classes at full size; needs no weights."""
    if as_json and as_markdown:
        raise ValueError("--json and --markdown do not go together: choose one")
    from frdiff.catalogue.full_size import find_full_sizes

    chosen = find_full_sizes(names or [])
    with progress("loading diffusers") as show:
        silence()
        from frdiff.catalogue.table import model_costs, page

        rows = []
        for done, model in enumerate(chosen):
            show(f"counting {model.name}", done, len(chosen))
            rows.append(model_costs(model))
    if as_json:
        print_json([row.to_dict() for row in rows])
    elif as_markdown:
        typer.echo(page(rows), nl=False)
    else:
        out.print(_table(rows))
        err.print("paper, residual, all: targets/reuse ratio/MiB of one keyframe's features")


def _table(rows: "Sequence[ModelCosts]") -> Table:
    table = Table("model", "call")
    for column in ("GMACs", *rows[0].sets):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        sets = [str(cost).replace(" ", "") for cost in row.sets.values()]
        call = f"{row.at}, batch {row.batch}"
        table.add_row(row.name, call, f"{row.macs / 1e9:,.1f}", *sets)
    return table
