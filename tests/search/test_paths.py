import itertools

import numpy as np
import pytest

from frdiff.search.paths import shortest_path


def total(cost, keyframes):
    """What a schedule costs, gap by gap."""
    steps = cost.shape[0]
    before = (0, *keyframes[:-1])
    after = (*keyframes[1:], steps)
    return sum(cost[a, b, e] for a, b, e in zip(before, keyframes, after, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_exhaustive_search_on_eight_steps(seed):
    cost = np.random.default_rng(seed).random((8, 8, 9))
    for count in range(1, 9):
        schedules = [(0, *rest) for rest in itertools.combinations(range(1, 8), count - 1)]
        best = min(schedules, key=lambda keyframes: total(cost, keyframes))
        assert shortest_path(cost, count) == best


def test_finds_the_steps_at_which_a_feature_changes():
    # A gap costs one for every change within it.
    changes = (3, 4, 9)
    cost = np.zeros((12, 12, 13))
    for start, end in itertools.combinations(range(13), 2):
        cost[:, start if start < 12 else 11, end] = sum(start < step < end for step in changes)
    assert shortest_path(cost, 4) == (0, *changes)


def test_counts_that_no_schedule_has():
    with pytest.raises(ValueError, match="8 steps have 1 to 8 keyframes, got 9"):
        shortest_path(np.zeros((8, 8, 9)), 9)
