"""How all methods stand, as tables that fit a document."""

from collections.abc import Mapping, Sequence

from frdiff.evaluation.results.summary import SPEEDUPS, Row, Standing

__all__ = ["standings_markdown"]


def standings_markdown(sections: Mapping[str, Sequence[Standing]]) -> str:
    """A table per model and guidance: each method's best setting at each speed-up.

    In a cell: median PSNR in dB to the converged solution, its 95 % interval, and in brackets dB
    above fewer steps with the best solver at equal measured seconds.

    Args:
        sections: by model and guidance, how each method does.
    """
    return "\n".join(_table(name, found) for name, found in sections.items())


def _table(name: str, found: Sequence[Standing]) -> str:
    heads = ["method", *(f"at {speedup:g}x" for speedup in SPEEDUPS)]
    lines = [f"## {name}", "", _line(heads), _line(["---"] * len(heads))]
    for standing in found:
        label = f"**{standing.name}**" if standing.group == "tuned" else standing.name
        lines.append(_line([label, *(_cell(standing.best[speedup]) for speedup in SPEEDUPS)]))
    return "\n".join([*lines, ""])


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    low, high = row.psnr_interval
    above = "" if row.above is None else f" ({row.above:+.1f})"
    return f"{row.psnr:.1f} [{low:.1f}, {high:.1f}]{above}: {row.result.setting}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
