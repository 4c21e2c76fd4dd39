"""What the page says and how it looks, in a module that imports nothing heavy."""

from collections.abc import Sequence
from html import escape

__all__ = [
    "BYTES",
    "COMPARE",
    "GOALS",
    "QUALITY",
    "SEARCH",
    "SECONDS",
    "STYLE",
    "TRUTHS",
    "message",
    "table",
]

COMPARE, SEARCH = "compare", "search"  # work that can be stopped

# What decibels are to.
TRUTHS = ("converged solution", "full run")

# What may matter in a search, and what is asked of it.
SECONDS, QUALITY, BYTES = "seconds", "dB", "bytes"
GOALS = {
    SECONDS: "times as fast as the full run; as close as can be",
    QUALITY: "dB to the converged solution to keep; as fast as can be",
    BYTES: "MiB of stored features at most; twice as fast as the full run",
}

STYLE = """
.fr-cards {display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;}
.fr-cards figure {margin: 0; max-width: 420px;}
.fr-cards img, .fr-tips img {width: 100%; border-radius: 6px; display: block;}
.fr-cards figcaption {font-size: 14px; line-height: 1.45; margin-top: 6px;}
.fr-cards figcaption b {display: block; overflow-wrap: anywhere;}
.fr-note {font-size: 13px; opacity: .8; overflow-wrap: anywhere;}
.fr-message {padding: 8px 12px; border-left: 4px solid #2f5d8a; overflow-wrap: anywhere;
  background: color-mix(in srgb, currentColor 6%, transparent); border-radius: 4px;}
.fr-message.fr-wrong {border-color: #c8553d;}
.fr-message progress {width: 100%; accent-color: #2f5d8a;}
.fr-scroll {overflow-x: auto;}
.fr-table {border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums;}
.fr-table, .fr-table tr {border: 0 !important;}
.fr-table th, .fr-table td {padding: 3px 10px 3px 0; text-align: left; vertical-align: top;
  border: 0 solid color-mix(in srgb, currentColor 15%, transparent) !important;
  border-bottom-width: 1px !important;}
.fr-front {display: flex; flex-wrap: wrap; gap: 16px;}
.fr-front > div {flex: 1 1 300px;}
.fr-front > .fr-plot {flex: 2 1 460px; min-width: 0; max-width: 760px;}
.fr-front svg {width: 100%; height: auto; display: block;}
.fr-front text {fill: currentColor; font-size: 13px;}
@media (max-width: 500px) {.fr-front text {font-size: 18px;}}
.fr-point {cursor: pointer; outline: none;}
.fr-point:is(:hover, :focus) {stroke: currentColor; stroke-width: 2;}
.fr-tip {display: none; gap: 10px; flex: 2;}
.fr-tips {display: flex; gap: 10px; max-width: 520px; min-height: 190px; margin-top: 8px;}
.fr-tips figure {margin: 0; flex: 1; max-width: 150px; font-size: 12px; line-height: 1.4;}
.fr-legend span {margin-right: 14px; white-space: nowrap; font-size: 13px;}
.fr-legend i {display: inline-block; width: 10px; height: 10px; border-radius: 50%;
  margin-right: 5px;}
.fr-plan {overflow-x: auto;}
.fr-plan img {width: 100%; min-width: 620px; max-width: 1170px; background: white;
  border-radius: 6px;}
.fr-download {display: inline-block; padding: 8px 16px; border-radius: 6px; background: #2f5d8a;
  color: white !important; text-decoration: none;}
"""


def message(text: str, wrong: bool = False, share: float | None = None) -> str:
    """A line of text.

    Args:
        wrong: something was refused or failed.
        share: of the work that is done, in [0, 1], for a bar.
    """
    bar = "" if share is None else f'<progress max="1" value="{min(share, 1):.3f}"></progress>'
    kind, role = ("fr-message fr-wrong", "alert") if wrong else ("fr-message", "status")
    return f'<div class="{kind}" role="{role}">{escape(text)}{bar}</div>'


def table(rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Rows of texts; the first of each is its head where there is no head row."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="fr-scroll"><table class="fr-table"><tr>{top}</tr>{body}</table></div>'
        if head
        else f'<div class="fr-scroll"><table class="fr-table">{body}</table></div>'
    )
