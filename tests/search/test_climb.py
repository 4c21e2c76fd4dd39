import itertools

import pytest

from frdiff.search.schedules.climb import climb


def distance(planted):
    """A value that falls as keyframes approach the planted ones."""

    def evaluate(schedules):
        return [
            float(sum(abs(a - b) for a, b in zip(keyframes, planted, strict=True)))
            for keyframes in schedules
        ]

    return evaluate


def test_finds_planted_keyframes():
    planted = (0, 2, 3, 11, 17)
    start = (0, 4, 8, 12, 16)
    assert climb(start, 20, distance(planted), evaluations=300) == (planted, 0.0)


@pytest.mark.parametrize("evaluations", [1, 2, 7, 40])
def test_never_worse_than_its_start_and_within_its_budget(evaluations):
    asked = []

    def evaluate(schedules):
        asked.extend(schedules)
        return [float(hash(keyframes) % 1000) for keyframes in schedules]

    start = (0, 4, 8)
    best, value = climb(start, 12, evaluate, evaluations=evaluations, seed=evaluations)
    assert len(asked) == len(set(asked)) <= evaluations
    assert value == min(evaluate([best])) <= evaluate([start])[0]
    for keyframes in asked:
        assert len(keyframes) == 3 and keyframes[0] == 0 and list(keyframes) == sorted(keyframes)
        assert keyframes[-1] < 12


def test_same_seed_same_proposals():
    runs = []
    for seed in (1, 1, 2):
        asked = []

        def evaluate(schedules, asked=asked):
            asked.extend(schedules)
            return distance((0, 3, 9))(schedules)

        climb((0, 5, 10), 15, evaluate, evaluations=30, seed=seed)
        runs.append(asked)
    assert runs[0] == runs[1] != runs[2]


def test_tries_all_there_is_and_stops():
    asked = []

    def evaluate(schedules):
        asked.extend(schedules)
        return [1.0] * len(schedules)

    climb((0, 1), 4, evaluate, evaluations=100)
    assert set(asked) == {(0, *rest) for rest in itertools.combinations(range(1, 4), 1)}
    assert climb((0, 1, 2), 3, evaluate, evaluations=5) == ((0, 1, 2), 1.0)
