"""The pictures of the report: quality against cost, and strips of the same seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from frdiff.bench.curves import pareto_front
from frdiff.bench.results import Distribution
from frdiff.bench.summary import GROUPS, Row, group_of

__all__ = ["AXES", "METRICS", "distribution_figure", "pareto_figure", "strip"]

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {
    "fewer steps": "#000000",
    "paper": "#D55E00",
    "frdiff": "#0072B2",
    "tuned": "#CC79A7",
    "peer": "#009E73",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
HEIGHT = 64
LEGEND_COLUMNS = 3

AXES: dict[str, tuple[str, Callable[[Row], float]]] = {
    "time": ("speed-up, measured (full run = 1)", lambda row: row.speedup),
    "macs": ("full run's MACs / MACs", lambda row: 1 / row.macs_ratio),
}
METRICS: dict[str, tuple[str, Callable[[Row], float]]] = {
    "psnr": ("PSNR to the converged solution, dB", lambda row: row.psnr),
    "psnr_full": ("PSNR to the full run, dB", lambda row: row.psnr_full),
    "ssim": ("SSIM to the converged solution", lambda row: row.ssim),
}


def pareto_figure(rows: Sequence[Row], axis: str, metric: str) -> Figure:
    """Quality over speed-up, a line per family along its own front; up and right is better.

    Args:
        rows: of one model.
        axis: a key of `AXES`.
        metric: a key of `METRICS`.
    """
    across, speed = AXES[axis]
    up, quality = METRICS[metric]
    families = dict.fromkeys(row.result.family for row in rows)
    lines = -(-len(families) // LEGEND_COLUMNS)
    figure = Figure(figsize=(9, 5 + 0.17 * lines), layout="constrained")
    axes = figure.add_subplot()
    used: dict[str, int] = {}
    for family in families:
        own = [row for row in rows if row.result.family == family]
        group = own[0].group
        number = used[group] = used.get(group, -1) + 1
        style: dict[str, Any] = {
            "color": COLOURS[group],
            "marker": MARKERS[number % len(MARKERS)],
            "alpha": 0.75 if group in ("paper", "peer") else 1.0,
        }
        points = [(1 / speed(row), quality(row)) for row in own]
        if metric == "psnr_full":  # the full run itself has no likeness to show
            points = [point for point in points if point[1] < 100]
        if not points:
            continue
        axes.plot(*zip(*((1 / x, y) for x, y in points), strict=True), linestyle="", **style)
        front = [(1 / x, y) for x, y in pareto_front(points)]
        axes.plot(*zip(*front, strict=True), label=family, linewidth=1.2, **style)
    axes.set(xlabel=across, ylabel=up, xscale="log")
    ticks = [0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        fontsize=7,
        frameon=False,
        columnspacing=0.5,
        handlelength=1.5,
    )
    return figure


def distribution_figure(pairs: Sequence[tuple[Distribution, float]]) -> Figure:
    """Fréchet distances over speed-up, a colour per group; in the grey band nothing is lost.

    Args:
        pairs: measurements of one model, each with its speed-up.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    panels: dict[str, tuple[Any, Callable[[Distribution], float]]] = {
        "to the training pictures": (left, lambda row: row.frechet_training),
        "to the full run, other seeds": (right, lambda row: row.frechet_full),
    }
    for name, (axes, distance) in panels.items():
        spread = [distance(row) for row, _ in pairs if row.point.startswith("full")]
        if spread:
            axes.axhspan(0, max(spread), color="0.9", label="full run, other seeds")
        least = min(max(distance(row), 1e-4) for row, _ in pairs)
        most = max(distance(row) for row, _ in pairs)
        # Over decades: one method that fails must not hide the others.
        axes.set(yscale="log", ylim=(least / 2, max(2 * most, 2e-4)))
        for group in GROUPS:
            own = [
                (speedup, distance(row))
                for row, speedup in pairs
                if group_of(row.family) == group and not row.point.startswith("full")
            ]
            if own:
                axes.plot(*zip(*own, strict=True), "o", color=COLOURS[group], label=group)
        axes.set(title=f"Fréchet distance {name}", xlabel=AXES["time"][0])
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8, frameon=False)
    return figure


def strip(rows: Sequence[tuple[str, Path]]) -> Image.Image:
    """Strips of the same seeds, one under another, each with its caption at the left.

    Args:
        rows: captions and the PNG of each method's first pictures, all of one size; small ones
            are enlarged by whole pixels.

    Raises:
        OSError: a file that holds no picture.
    """
    font = ImageFont.load_default(14)
    pictures = [Image.open(path).convert("RGB") for _, path in rows]
    scale = max(1, HEIGHT // pictures[0].height)
    pictures = [
        picture.resize((picture.width * scale, picture.height * scale), 0) for picture in pictures
    ]
    margin = 16 + max(int(font.getlength(line)) for name, _ in rows for line in name.split("\n"))
    width = margin + max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, sum(picture.height + 4 for picture in pictures)), "white")
    pen = ImageDraw.Draw(sheet)
    y = 0
    for (name, _), picture in zip(rows, pictures, strict=True):
        pen.multiline_text((6, y + picture.height / 2), name, "black", font=font, anchor="lm")
        sheet.paste(picture, (margin, y))
        y += picture.height + 4
    return sheet
