import itertools
from dataclasses import replace

import pytest

from frdiff.search.shapes import POWERS, Shape, affordable, ladder, neighbours, spaced


@pytest.mark.parametrize("power", POWERS)
def test_keyframes_are_different_and_reach_from_first_to_last_step(power):
    for num_steps, count in itertools.combinations(range(2, 30, 3), 2):
        count, num_steps = sorted((count, num_steps))
        keyframes = spaced(num_steps, count, power)
        assert len(set(keyframes)) == count
        assert list(keyframes) == sorted(keyframes)
        assert (keyframes[0], keyframes[-1]) == (0, num_steps - 1)


def test_even_spacing_and_crowding():
    assert spaced(13, 4) == (0, 4, 8, 12)
    # 1 - (1 - u)^2 at u = 0, 1/2, 1 of 12.
    assert spaced(13, 3, power=2) == (0, 9, 12)
    assert spaced(5, 5, power=2.5) == (0, 1, 2, 3, 4)
    assert spaced(7, 1) == (0,)


def test_a_budget_is_spent_and_never_exceeded():
    for budget, num_steps, between in itertools.product((3, 6.5, 12), (6, 12, 24), (0.05, 0.2)):
        count = affordable(budget, num_steps, between)
        cost = count + (num_steps - count) * between
        if count:
            assert cost <= budget + 1e-6
        if count < num_steps:
            assert cost + (1 - between) > budget
    assert affordable(5, 5, 0.1) == 5
    assert affordable(5, 6, 1.0) == 0
    assert affordable(0.5, 20, 0.1) == 0


def test_ladder_rises_to_its_limit():
    counts = ladder(8.33, 40)
    assert counts == sorted(set(counts))
    assert counts[0] == 8
    assert counts[-1] == 40
    assert ladder(1, 50)[0] == 2


def test_neighbours_differ_in_one_number_by_one_place_or_in_the_solver():
    reuse = Shape(20, tail=1, depth=2)
    near = [replace(reuse, steps=10), replace(reuse, steps=30), replace(reuse, solver="unipc")]
    # A full run's keyframes are beside every power.
    near += [replace(reuse, power=power) for power in POWERS] + [replace(reuse, depth=3)]
    choices = [10, 20, 30], [None, "unipc"], [0, 1], [2, 3]
    assert list(neighbours(reuse, *choices)) == [*near, replace(reuse, tail=0)]
    # Jumps compute no target.
    jumps = replace(reuse, jumps=True)
    assert list(neighbours(jumps, *choices)) == [replace(shape, jumps=True) for shape in near]
    crowded = [shape.power for shape in neighbours(replace(reuse, power=1.3), *choices)]
    assert [power for power in crowded if power != 1.3] == [None, 1.15, 1.6]
