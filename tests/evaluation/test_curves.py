import itertools

import pytest

from frdiff.evaluation.results.curves import hypervolume, pareto_front, quality_above, quality_at

#   quality
#   4 |            d
#   3 |      c
#   2 |   b     e          e is beaten by c
#   1 | a
#       1  2  3  4  5  cost
POINTS = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (5.0, 4.0), (4.0, 2.0)]


def test_front_of_five_drawn_points():
    assert pareto_front(POINTS) == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (5.0, 4.0)]
    for order in itertools.permutations(POINTS):
        assert pareto_front(order) == pareto_front(POINTS)


def test_front_of_one_point_of_none_and_of_duplicates():
    assert pareto_front([]) == []
    assert pareto_front([(1.0, 1.0)] * 3) == [(1.0, 1.0)]
    assert pareto_front([(1.0, 1.0), (1.0, 2.0)]) == [(1.0, 2.0)]


def test_hypervolume_of_drawn_points():
    # Columns to the right of a, b, c and d, up to cost 6 and down to quality 0: 1 + 2 + 6 + 4.
    assert hypervolume(POINTS, (6.0, 0.0)) == pytest.approx(13.0)
    assert hypervolume([(1.0, 1.0)], (3.0, 0.5)) == pytest.approx(1.0)
    assert hypervolume([(4.0, 1.0), (1.0, 0.0)], (3.0, 0.5)) == 0.0
    assert hypervolume([], (3.0, 0.5)) == 0.0


def test_quality_between_and_outside_the_points():
    assert quality_at(2.5, POINTS) == pytest.approx(2.5)
    assert quality_at(4.0, POINTS) == pytest.approx(3.5)
    assert quality_at(9.0, POINTS) == 4.0
    assert quality_at(0.5, POINTS) is None
    assert quality_above((2.5, 4.0), POINTS) == pytest.approx(1.5)
    assert quality_above((0.5, 4.0), POINTS) is None
