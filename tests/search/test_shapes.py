import itertools
from dataclasses import replace

from frdiff.search.schedules.shapes import POWERS, Shape, affordable, ladder, neighbours


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
    near.append(replace(reuse, fitted=False))
    choices = [10, 20, 30], [None, "unipc"], [0, 1], [2, 3], [True, False]
    assert list(neighbours(reuse, *choices)) == [*near, replace(reuse, tail=0)]
    # Jumps compute no target.
    jumps = replace(reuse, jumps=True)
    near += [replace(reuse, checked=True), replace(reuse, steered=True)]
    assert list(neighbours(jumps, *choices)) == [replace(shape, jumps=True) for shape in near]
    # Weights that may not be fitted may not be steered either.
    given = list(neighbours(jumps, *choices[:-1], [False]))
    assert not any(shape.steered for shape in given)
    crowded = [shape.power for shape in neighbours(replace(reuse, power=1.3), *choices)]
    assert [power for power in crowded if power != 1.3] == [None, 1.15, 1.6]
