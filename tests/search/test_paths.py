import itertools

import numpy as np
import pytest

from frdiff.bank.forecast import extrapolation_weights
from frdiff.search.schedules.paths import gap_costs, shortest_path, step_sizes
from frdiff.search.weights.fit import fit_weights, forecast_error


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


def test_gap_costs_are_those_of_fits_one_by_one():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(7, 4)).cumsum(0)
    gram, sizes = features @ features.T, rng.uniform(0.1, 1, size=7)
    costs = gap_costs(gram, sizes)
    for a, b in itertools.combinations(range(7), 2):
        total = 0.0
        for i in range(b + 1, 7):
            assert costs[a, b, i] == pytest.approx(total)
            places = np.ix_([i, b, a], [i, b, a])
            weights = fit_weights(gram[places], extrapolation_weights([b, a], i))
            total += sizes[i] ** 2 * forecast_error(gram[places], weights)
        assert costs[a, b, 7] == pytest.approx(total)
    # Behind the first keyframe alone its score is copied.
    assert costs[0, 0, 3] == pytest.approx(
        sum(sizes[i] ** 2 * ((features[i] - features[0]) ** 2).sum() for i in (1, 2))
    )


def test_a_step_is_as_large_as_the_noise_that_it_removes():
    levels = np.log([8.0, 4.0, 4.0, 1.0])
    assert step_sizes(levels) == pytest.approx([0.5, 0.0, 0.75, 1.0])


def test_the_path_finds_where_scores_bend():
    # Two straight stretches that share a corner: two keyframes on each tell it all.
    features = np.concatenate([np.arange(6), 5 - 3 * np.arange(1, 7)])[:, None] * [[1.0, 2.0]]
    path = shortest_path(gap_costs(features @ features.T, np.ones(12)), 4)
    assert path == (0, 1, 5, 6)
