"""Curves of quality against cost: who is best at which cost, and by how much.

A point is (cost, quality): cost the lower the better (share of the full run's seconds or MACs),
quality the higher the better (dB).
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["hypervolume", "pareto_front", "quality_above", "quality_at"]

Point = tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in cost and quality, by ascending cost."""
    front: list[Point] = []
    for cost, quality in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def hypervolume(points: Sequence[Point], worst: Point) -> float:
    """The area between the front of `points` and `worst`, a point of high cost and low quality.

    Points that are worse than `worst` in either respect add nothing.
    """
    front = [point for point in pareto_front(points) if point[0] < worst[0] and point[1] > worst[1]]
    if not front:
        return 0.0
    ends = [cost for cost, _ in front[1:]] + [worst[0]]
    return sum(
        (end - cost) * (quality - worst[1])
        for (cost, quality), end in zip(front, ends, strict=True)
    )


def quality_at(cost: float, points: Sequence[Point]) -> float | None:
    """The quality that the front of `points` has at `cost`, linear in between; None outside it.

    Above the dearest point its quality stays: nobody has to spend more.
    """
    front = pareto_front(points)
    if not front or cost < front[0][0]:
        return None
    costs, qualities = zip(*front, strict=True)
    return float(np.interp(cost, np.array(costs), np.array(qualities)))


def quality_above(point: Point, points: Sequence[Point]) -> float | None:
    """How far `point` lies above the front of `points` at its own cost; None below their costs."""
    reached = quality_at(point[0], points)
    return None if reached is None else point[1] - reached
