"""`frdiff policies`: what ships tuned, and which of it fits a model."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from frdiff.cli.shared import AsJson, open_model, out, print_json, progress

if TYPE_CHECKING:
    from frdiff.models import Match, Profile


def policies(
    model: Annotated[
        str | None,
        typer.Argument(help="A shipped model, a folder or a hub id: say what fits it and why."),
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Policy files to look at; default: all that ship.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the policies that ship, by quality; with a model, say which fit it and why not."""
    if model is not None:
        _show_matches(model, files, as_json)
        return
    with progress("reading"):
        from frdiff.models import profiles, shipped_models
        from frdiff.models.named import RULES

        found = [one for name in shipped_models() for one in profiles(name).values()]
    if as_json:
        print_json([_row(one) for one in found])
        return
    out.print(_table(found))
    for name, rule in RULES.items():
        out.print(f"{name}: {rule}", highlight=False)


def _show_matches(model: str, files: Sequence[Path] | None, as_json: bool) -> None:
    from frdiff.models import match

    found = match(open_model(model, "cpu"), files or None)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    out.print(_match_table(found))


def _row(one: "Profile") -> dict[str, Any]:
    return {**asdict(one), "path": str(one.path), "speedup": one.speedup}


def _table(found: "Sequence[Profile]") -> Table:
    table = Table("policy", "guidance", title="dB: median PSNR to the converged solution")
    for column in ("calls", "speed-up", "dB", "full run, dB"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        scales = [scale for scale in one.guidance if scale is not None]
        between = f"{min(scales):g} to {max(scales):g}" if scales else "none"
        decibels = (_between(row.decibels) for row in (one.measured, one.full))
        table.add_row(
            f"{one.model}/{one.name}",
            between,
            str(one.measured.calls),
            f"{one.speedup:.2f}x",
            *decibels,
        )
    return table


def _between(decibels: Sequence[float]) -> str:
    low, high = min(decibels), max(decibels)
    return f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"


def _match_table(found: "Sequence[Match]") -> Table:
    table = Table("policy", "fits", "why")
    for row in found:
        table.add_row(row.name, "yes" if row.fits else "no", escape(row.why))
    return table
