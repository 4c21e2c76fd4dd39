"""Keyframes as a shortest path: the best schedule where the costs of its gaps add up."""

import numpy as np

__all__ = ["shortest_path"]


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
