"""Measured seconds against decibels, as a picture whose points show what they drew."""

import math
from collections.abc import Sequence
from html import escape

from frdiff.app.gauge import Measured
from frdiff.app.looks import data_uri, decibels, figures
from frdiff.compare import picture

__all__ = ["COLOURS", "KINDS", "best", "plot"]

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 40
COLOURS = {
    "full": "currentColor",
    "fewer steps": "#9aa3af",
    "untuned": "#d9a441",
    "shipped": "#4d9078",
    "frdiff": "#7fa3c7",
    "chosen": "#c8553d",
}
KINDS = {
    "full": "full run",
    "fewer steps": "fewer steps, several solvers",
    "untuned": "not tuned",
    "shipped": "ships with the model",
    "frdiff": "found by this search",
    "chosen": "the policy found",
}
THUMB = 150


def _decibels(one: Measured) -> float:
    """Of a way of drawing; not a number if there are none."""
    return math.nan if one.decibels is None else one.decibels


def best(points: Sequence[Measured]) -> list[Measured]:
    """Those that no other is both faster and closer than, the fastest first."""
    front: list[Measured] = []
    for one in sorted(points, key=lambda one: (one.seconds, -_decibels(one))):
        if not front or _decibels(one) > _decibels(front[-1]):
            front.append(one)
    return front


def plot(points: Sequence[Measured], against: str) -> str:
    """The points, a line through the best of those of frdiff, and under it what is pointed at.

    Args:
        points: the full run first. Those without decibels are left out.
        against: what decibels are to.
    """
    shown = [one for one in points if math.isfinite(_decibels(one))]
    if not shown:
        return ""
    full = points[0]
    pictures = len(full.images)
    x_high = max(one.seconds for one in shown) / pictures * 1.05
    lows, highs = min(map(_decibels, shown)), max(map(_decibels, shown))
    margin = max(0.05 * (highs - lows), 1.0)
    low, high = lows - margin, highs + margin

    def place(one: Measured) -> tuple[float, float]:
        x = one.seconds / pictures / x_high
        y = (_decibels(one) - low) / (high - low)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    ours = best([one for one in shown if one.kind in ("frdiff", "chosen")])
    line = " ".join("{:.1f},{:.1f}".format(*place(one)) for one in ours)
    marks, tips, rules = [], [], []
    for number, one in enumerate(shown):
        x, y = place(one)
        radius = 7 if one.kind in ("chosen", "full") else 5
        marks.append(
            f'<circle class="fr-point" id="fr-p{number}" tabindex="0" cx="{x:.1f}" cy="{y:.1f}" '
            f'r="{radius}" fill="{COLOURS[one.kind]}" aria-label="{escape(one.name)}"/>'
        )
        said = "<br>".join(map(escape, [decibels(one, against), *figures(one, full)]))
        tips.append(
            f'<div class="fr-tip" id="fr-t{number}">{_figure(one, one.name)}'
            f"<figure>{said}</figure></div>"
        )
        rules.append(
            f".fr-front:has(#fr-p{number}:is(:hover,:focus)) #fr-t{number} {{display: flex;}}"
        )
    last = len(shown) - 1
    rules.append(f".fr-front:not(:has(.fr-point:is(:hover,:focus))) #fr-t{last} {{display: flex;}}")
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in shown)]
    legend = "".join(
        f'<span><i style="background:{COLOURS[kind]}"></i>{KINDS[kind]}</span>' for kind in kinds
    )
    return (
        f'<div class="fr-front"><style>{"".join(rules)}</style>'
        f'<div class="fr-plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="seconds against decibels">{_axes(x_high, low, high, against)}'
        f'<polyline points="{line}" fill="none" stroke="{COLOURS["frdiff"]}" stroke-width="1.5"/>'
        f'{"".join(marks)}</svg><div class="fr-legend">{legend}</div></div>'
        f'<div class="fr-tips">{_figure(full, "full run, same noise")}{"".join(tips)}</div></div>'
    )


def _figure(what: Measured, caption: str) -> str:
    thumb = picture(what.images[0])
    thumb.thumbnail((THUMB, THUMB))
    return f'<figure><img alt="" src="{data_uri(thumb)}">{escape(caption)}</figure>'


def _axes(x_high: float, low: float, high: float, against: str) -> str:
    found = []
    for value in _ticks(0, x_high):
        x = LEFT + value / x_high * (WIDTH - LEFT - RIGHT)
        found.append(_tick_line(x, x, TOP, HEIGHT - BOTTOM))
        found.append(_text(x, HEIGHT - BOTTOM + 16, f"{value:g}"))
    for value in _ticks(low, high):
        y = HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        found.append(_tick_line(LEFT, WIDTH - RIGHT, y, y))
        found.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    found.append(_text(middle, HEIGHT - 6, "measured seconds a picture"))
    label = escape(f"dB to the {against}")
    centre = TOP + (HEIGHT - TOP - BOTTOM) / 2
    found.append(
        f'<text x="12" y="{centre}" text-anchor="middle" '
        f'transform="rotate(-90 12 {centre})">{label}</text>'
    )
    return "".join(found)


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two values, `most` at most."""
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _tick_line(x1: float, x2: float, y1: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        'stroke-opacity="0.12"/>'
    )
