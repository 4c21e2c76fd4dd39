"""Shapes: schedules told by a few numbers, where a search begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

__all__ = ["POWERS", "Shape", "affordable", "ladder", "neighbours"]

T = TypeVar("T")

POWERS = (1.0, 1.15, 1.3, 1.6, 2.0, 2.5)
RUNGS = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)


@dataclass(frozen=True)
class Shape:
    """A schedule; its number of keyframes is what the budget pays for.

    Attributes:
        steps: `num_inference_steps`.
        solver: name of the scheduler; None for the pipeline's own.
        power: how keyframes crowd towards the end: 1 spaces them evenly; the greater, the more.
            None puts them where a full run says that errors are least.
        tail: how many of the targets that run last every step computes.
        depth: stored features or scores that a step weighs.
        fitted: whether to a full run; scores are extrapolated otherwise, and features linearly,
            whatever the depth.
        jumps: whether steps between keyframes make their score of earlier ones, without a network
            call, and not of stored features.
        checked: whether jumps extrapolate only as far as the last keyframe bears them out.
        steered: whether scores are weighed so that samples stay where a full run leads, see
            `frdiff.search.weights.steer`; `fitted` says where the weights of jumps begin.
    """

    steps: int
    solver: str | None = None
    power: float | None = None
    tail: int = 0
    depth: int = 3
    fitted: bool = True
    jumps: bool = False
    checked: bool = False
    steered: bool = False


def affordable(budget: float, num_steps: int, between: float) -> int:
    """How many keyframes a budget in full steps pays for, at most all; 0 if not even the first.

    Args:
        between: the cost of a step that is none.
    """
    if between >= 1:
        return num_steps if budget >= num_steps else 0
    return min(max(int((budget - num_steps * between) / (1 - between) + 1e-9), 0), num_steps)


def ladder(budget: float, most: int) -> list[int]:
    """Step counts worth trying within a budget in full steps, ascending, 2 to `most`."""
    return sorted({min(round(budget * rung), most) for rung in RUNGS} - {0, 1})


def neighbours(
    shape: Shape,
    steps: Sequence[int],
    solvers: Sequence[str | None],
    tails: Sequence[int],
    depths: Sequence[int],
    fits: Sequence[bool],
) -> Iterator[Shape]:
    """The shapes that differ from `shape` in one number by one place, or in one choice.

    Args:
        steps: counts to choose from, ascending; likewise `tails` and `depths`.
        solvers: to choose from; likewise `fits`.
    """
    for count in _beside(shape.steps, steps):
        yield replace(shape, steps=count)
    for solver in solvers:
        if solver != shape.solver:
            yield replace(shape, solver=solver)
    # What a full run says has no place among the powers, so it is beside all of them.
    powers = POWERS if shape.power is None else (None, *_beside(shape.power, POWERS))
    for power in powers:
        yield replace(shape, power=power)
    for depth in _beside(shape.depth, depths):
        yield replace(shape, depth=depth)
    for fitted in fits:
        if fitted != shape.fitted:
            yield replace(shape, fitted=fitted)
    if shape.jumps:
        yield replace(shape, checked=not shape.checked)
    if shape.jumps and True in fits:
        yield replace(shape, steered=not shape.steered)
    if not shape.jumps:
        for tail in _beside(shape.tail, tails):
            yield replace(shape, tail=tail)


def _beside(value: T, choices: Sequence[T]) -> list[T]:
    place = list(choices).index(value)
    return [choices[other] for other in (place - 1, place + 1) if 0 <= other < len(choices)]
