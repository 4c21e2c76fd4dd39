"""Keyframes as a shortest path: the best schedule where the costs of its gaps add up.

What a gap between keyframes costs is known from one full run: how far the scores within it lie from
what the two keyframes before them forecast, and how much of the noise each step removes.
"""

from collections.abc import Sequence

import numpy as np

from frdiff.search.weights.fit import RIDGE

__all__ = ["gap_costs", "shortest_path", "step_sizes"]


def step_sizes(levels: Sequence[float]) -> np.ndarray:
    """The share of the noise that each step removes, `1 - next / own`; 1 for the last.

    An error of the score at a step reaches the result about in that proportion.

    Args:
        levels: logarithm of the noise level of every step.
    """
    return np.append(1 - np.exp(np.minimum(np.diff(levels), 0.0)), 1.0)


def gap_costs(gram: np.ndarray, sizes: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """What the steps between two keyframes cost, for every two and the one before them.

    Args:
        gram: (steps, steps) inner products of the scores of a full run.
        sizes: of the steps.
        ridge: see `fit_weights`.

    Returns:
        (steps, steps, steps + 1), as `shortest_path` takes them: at [a, b, e] the sum over the
        steps between b and e of squared size times squared error of the score fitted to those of b
        and a; of b alone where a = b.
    """
    steps = len(gram)
    square = np.diag(gram)
    apart = square[:, None] + square - 2 * gram
    a, b, i = np.ogrid[:steps, :steps, :steps]
    # The score at step i and that of a, both as differences from that of b.
    along = gram[a, i] - gram[b, i] - gram[a, b] + square[b]
    length = apart[a, b]
    with np.errstate(divide="ignore", invalid="ignore"):
        prior = (b - i) / np.maximum(b - a, 1)
        weight = (along + ridge * length * prior) / (length * (1 + ridge))
    weight = np.where((a < b) & (length > 0), weight, 0.0)
    error = np.maximum(apart[b, i] - 2 * weight * along + weight**2 * length, 0.0)
    costs = np.where(i > b, error * sizes**2, 0.0)
    return np.concatenate([np.zeros((steps, steps, 1)), np.cumsum(costs, axis=2)], axis=2)


def shortest_path(cost: np.ndarray, count: int) -> tuple[int, ...]:
    """The `count` keyframes, 0 first, whose gaps cost least in sum.

    Args:
        cost: (steps, steps, steps + 1); `cost[a, b, e]` is what the steps between the keyframes b
            and e cost when a is the keyframe before b; a = b = 0 for the first gap, and e = steps
            where no keyframe follows. A linear forecast depends on two keyframes, hence three
            indices.
        count: number of keyframes, 1 to steps.

    Raises:
        ValueError: a count that no schedule has.
    """
    steps = cost.shape[0]
    if not 1 <= count <= steps:
        raise ValueError(f"{steps} steps have 1 to {steps} keyframes, got {count}")
    # least[a, b]: the least cost of all that comes before keyframe b, the one before it being a.
    least = np.full((steps, steps), np.inf)
    least[0, 0] = 0.0
    came_from = []
    allowed = np.triu(np.ones((steps, steps + 1), dtype=bool), 1)
    for _ in range(count - 1):
        through = np.where(allowed[None, :, :steps], least[:, :, None] + cost[:, :, :steps], np.inf)
        came_from.append(through.argmin(axis=0))
        least = through.min(axis=0)
    ends = least + cost[:, :, steps]
    before, last = np.unravel_index(np.argmin(ends), ends.shape)
    path = [int(last)]
    for choices in reversed(came_from):
        path.append(int(before))
        before = choices[before, path[-2]]
    return tuple(reversed(path))
