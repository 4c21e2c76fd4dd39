"""The figures of the report: quality against cost, distributions, and all models at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from frdiff.evaluation.results.curves import pareto_front
from frdiff.evaluation.results.records import Distribution
from frdiff.evaluation.results.summary import GROUPS, Row, Standing, group_of

__all__ = [
    "AXES",
    "METRICS",
    "distribution_figure",
    "group_figure",
    "pareto_figure",
    "summary_figure",
]

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {
    "fewer steps": "#000000",
    "paper": "#D55E00",
    "frdiff": "#0072B2",
    "tuned": "#CC79A7",
    "peer": "#009E73",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
LEGEND_LETTERS = 165  # of a legend in a line
TICKS = (0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6)

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
    columns = max(1, min(3, LEGEND_LETTERS // (8 + max(map(len, families)))))
    lines = -(-len(families) // columns)
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
        points = _shown([(1 / speed(row), quality(row)) for row in own], metric)
        if not points:
            continue
        axes.plot(*zip(*((1 / x, y) for x, y in points), strict=True), linestyle="", **style)
        front = [(1 / x, y) for x, y in pareto_front(points)]
        axes.plot(*zip(*front, strict=True), label=family, linewidth=1.2, **style)
    _label(axes, across, up)
    figure.legend(
        loc="outside lower center",
        ncols=columns,
        fontsize=7,
        frameon=False,
        columnspacing=0.5,
        handlelength=1.5,
    )
    return figure


def group_figure(rows: Sequence[Row], axis: str, metric: str) -> Figure:
    """The same by group, every setting a point and the best of each group a line; fits a phone.

    Args:
        rows, axis, metric: as in `pareto_figure`.
    """
    across, speed = AXES[axis]
    up, quality = METRICS[metric]
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, group in enumerate(GROUPS):
        own = [row for row in rows if row.group == group]
        points = _shown([(1 / speed(row), quality(row)) for row in own], metric)
        if not points:
            continue
        style: dict[str, Any] = {"color": COLOURS[group], "marker": MARKERS[number]}
        across_all, up_all = zip(*points, strict=True)
        axes.plot(
            [1 / x for x in across_all], up_all, linestyle="", markersize=3, alpha=0.45, **style
        )
        front = [(1 / x, y) for x, y in pareto_front(points)]
        axes.plot(*zip(*front, strict=True), label=group, linewidth=1.6, markersize=5, **style)
    _label(axes, across, up)
    axes.legend(fontsize=9, frameon=False)
    return figure


def _shown(points: list[tuple[float, float]], metric: str) -> list[tuple[float, float]]:
    """Those that say something: the full run has no likeness to itself to show."""
    return [point for point in points if metric != "psnr_full" or point[1] < 100]


def _label(axes: Any, across: str, up: str) -> None:
    axes.set(xlabel=across, ylabel=up, xscale="log")
    axes.set_xticks(TICKS, [f"{tick:g}x" for tick in TICKS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def summary_figure(groups: Mapping[str, Sequence[Standing]], speedups: Sequence[float]) -> Figure:
    """dB above fewer steps at equal time: a panel per speed-up, a line per model and guidance.

    Args:
        groups: by model and guidance, how each group stands.
        speedups: keys of `Standing.best`.
    """
    names = list(groups)
    height = 0.9 + len(speedups) * (0.75 + 0.32 * len(names))
    figure = Figure(figsize=(5.6, height), layout="constrained")
    panels = figure.subplots(len(speedups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, speedup in zip(panels, speedups, strict=True):
        axes.axvline(0, color=COLOURS["fewer steps"], linewidth=1, label="fewer steps")
        for number, group in enumerate(GROUPS[1:], 1):
            places = [
                (row.above, place)
                for place, name in enumerate(names)
                for standing in groups[name]
                if standing.name == group
                and (row := standing.best[speedup]) is not None
                and row.above is not None
            ]
            style: dict[str, Any] = {"color": COLOURS[group], "marker": MARKERS[number]}
            axes.plot(
                [above for above, _ in places],
                [place for _, place in places],
                linestyle="",
                label=group,
                **style,
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(f"at {speedup:g}x", fontsize=10)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("dB above fewer steps of the best solver, equal seconds")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def distribution_figure(pairs: Sequence[tuple[Distribution, float]]) -> Figure:
    """Fréchet distances over speed-up, a colour per group; in the grey band nothing is lost.

    Args:
        pairs: measurements of one model, each with its speed-up.
    """
    figure = Figure(figsize=(5.6, 6), layout="constrained")
    left, right = figure.subplots(2, 1, sharex=True)
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
        axes.set_title(f"Fréchet distance {name}", fontsize=10)
        axes.grid(alpha=0.3)
    right.set_xlabel(AXES["time"][0])
    left.legend(fontsize=8, frameon=False)
    return figure
