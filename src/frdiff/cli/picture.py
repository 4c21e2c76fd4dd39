"""A policy as a picture: steps from left to right, groups of targets from bottom to top."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from frdiff.plan import Action, Plan, Step
from frdiff.policy import Policy

__all__ = ["draw_policy"]

REUSED, COMPUTED, JUMPED, HALVED = 0, 1, 2, 3
COLOURS = ("#d8dde6", "#2f5d8a", "#ffffff", "#7fa3c7")
AGES = ("newest", "second", "third", "fourth")
NAMES = ("features reused", "computed", "jump: no network call", "half")


def draw_policy(policy: Policy, plan: Plan, path: Path | BinaryIO) -> None:
    """Write the picture of a plan: what every step computes, and the weights it takes.

    A second panel, where forecasts are fitted or scores mixed, has for every step the weights of
    the stored features or scores, a dot per group and a larger one in their middle, by age, the
    mixing weight, and what a keyframe takes of its own score and of the sample.
    """
    groups = [", ".join(patterns) for patterns in policy.groups] or ["denoiser"]
    weighed = any(
        step.forecast_weights or step.corrects or (step.mixing_weight < 1 and step.score_weights)
        for step in plan
    )
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
        vmax=3,
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
    if row.action is Action.HALF:
        return HALVED
    return COMPUTED if row.action is Action.KEYFRAME or group in row.computed else REUSED


def _draw_weights(axes: Axes, plan: Plan) -> None:
    """The weights of what is stored, by age, and mixing weights."""
    shades = ("#2f5d8a", "#7fa3c7", "#b9cde0", "#dfe8f1")
    for age, (name, shade) in enumerate(zip(AGES, shades, strict=True)):
        points = [
            (i, rows[:, age])
            for i, step in enumerate(plan)
            if (rows := _weights(step)) is not None and age < rows.shape[1]
        ]
        if not points:
            continue
        for i, weights in points:
            axes.plot([i] * len(weights), weights, ".", color=shade, markersize=2)
        middles = [np.median(weights) for _, weights in points]
        axes.plot([i for i, _ in points], middles, "o", color=shade, markersize=4, label=name)
    mixed = [(i, step.mixing_weight) for i, step in enumerate(plan) if 0 < step.mixing_weight < 1]
    if mixed:
        axes.plot(*zip(*mixed, strict=True), "s", color="#c8553d", markersize=4, label="mixing")
    own = [(i, step.score_weights[0]) for i, step in enumerate(plan) if step.corrects]
    if own:
        axes.plot(*zip(*own, strict=True), "D", color="#c8553d", markersize=4, label="own score")
    leant = [(i, step.sample_weight) for i, step in enumerate(plan) if step.sample_weight]
    if leant:
        axes.plot(*zip(*leant, strict=True), "^", color="#d9a441", markersize=4, label="sample")
    guided = [(i, step.guidance_weight) for i, step in enumerate(plan) if step.guidance_weight]
    if guided:
        axes.plot(*zip(*guided, strict=True), "v", color="#6a4c93", markersize=4, label="guidance")
    axes.set_ylabel("weights", fontsize=9)
    axes.axhline(0, color="grey", linewidth=0.6)
    axes.axhline(1, color="grey", linewidth=0.6)
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _weights(step: Step) -> np.ndarray | None:
    """Weights (groups, ages) that a step takes of stored features or scores; None if of none."""
    if step.action is Action.KEYFRAME:
        return np.array([step.score_weights[1:]]) if step.corrects else None
    if step.action is Action.JUMP:
        return np.array([step.score_weights])
    if step.action is Action.HALF:
        return None
    if not step.forecast_weights:
        return None
    most = max(map(len, step.forecast_weights))
    return np.array([[*row, *[0.0] * (most - len(row))] for row in step.forecast_weights])


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
