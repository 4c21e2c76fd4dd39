"""A policy as a picture: steps from left to right, groups of targets from bottom to top."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from frdiff.plan import Action, Plan
from frdiff.policy import Policy

__all__ = ["draw_policy"]

REUSED, COMPUTED, JUMPED = 0, 1, 2
COLOURS = ("#d8dde6", "#2f5d8a", "#ffffff")
NAMES = ("features reused", "computed", "jump: no network call")


def draw_policy(policy: Policy, plan: Plan, path: Path) -> None:
    """Write the picture of a plan: what every step computes, and the weights it takes.

    A second panel, where forecasts are fitted or scores mixed, has for every step the weight of the
    newest stored feature, a dot per group and a larger one in their middle, and the mixing weight.
    """
    groups = [", ".join(patterns) for patterns in policy.groups]
    weighed = any(step.forecast_weights or step.mixing_weight < 1 for step in plan)
    height = 1.6 + 0.16 * len(groups)
    figure = Figure(figsize=(9, height + (1.8 if weighed else 0)), layout="constrained")
    if weighed:
        table, weights = figure.subplots(2, 1, sharex=True, height_ratios=[height, 1.8])
        _draw_weights(weights, plan)
    else:
        table = figure.subplots()
    figure.supxlabel("step", fontsize=9)
    cells = np.array(
        [[_cell(plan, step, group) for step in range(len(plan))] for group in range(len(groups))]
    )
    table.pcolormesh(
        np.arange(len(plan) + 1) - 0.5,
        np.arange(len(groups) + 1) - 0.5,
        cells,
        cmap=ListedColormap(COLOURS),
        vmin=0,
        vmax=2,
        edgecolors="white",
        linewidth=0.6,
    )
    table.set_yticks(range(len(groups)), ["all targets" if g == "*" else g for g in groups])
    table.tick_params(axis="y", labelsize=6 if len(groups) > 4 else 9)
    shown = sorted({int(cell) for cell in cells.flat})
    patches = [Patch(facecolor=COLOURS[c], edgecolor="grey", label=NAMES[c]) for c in shown]
    figure.legend(handles=patches, loc="outside lower right", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(_title(policy, plan), fontsize=10)
    table.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=130)


def _cell(plan: Plan, step: int, group: int) -> int:
    row = plan[step]
    if row.action is Action.JUMP:
        return JUMPED
    return COMPUTED if row.action is Action.KEYFRAME or group in row.computed else REUSED


def _draw_weights(axes: Axes, plan: Plan) -> None:
    """The weight of the newest feature, group by group and in the middle, and mixing weights."""
    fitted = [(i, step.forecast_weights) for i, step in enumerate(plan) if step.forecast_weights]
    if fitted:
        steps = [i for i, _ in fitted]
        newest = np.array([[group[0] for group in weights] for _, weights in fitted])
        axes.plot(steps, newest, ".", color="#9db4cc", markersize=3)
        axes.plot(steps, np.median(newest, axis=1), "o", color="#2f5d8a", markersize=4)
        axes.set_ylabel("weight of the\nnewest feature", fontsize=8)
    mixed = [(i, step.mixing_weight) for i, step in enumerate(plan) if step.mixing_weight < 1]
    if mixed:
        axes.plot(*zip(*mixed, strict=True), "s", color="#c8553d", markersize=4)
        axes.set_ylabel("mixing weight" if not fitted else "weights", fontsize=8)
    axes.axhline(1, color="grey", linewidth=0.6)
    axes.tick_params(axis="y", labelsize=7)


def _title(policy: Policy, plan: Plan) -> str:
    keyframes = plan.count(Action.KEYFRAME)
    said = f"{len(plan)} steps, {keyframes} keyframes"
    origin = policy.origin
    if origin is None:
        return said
    figures = origin.figures
    return (
        f"{origin.model}, {origin.scheduler}: {said}; {figures.get('speedup', 1):.2f}x, "
        f"{figures.get('held_out_db', 0):.1f} dB"
    )
