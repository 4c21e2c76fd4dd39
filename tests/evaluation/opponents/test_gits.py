"""GITS finds the path that is known to be best, and straight parts of a run cost nothing."""

import numpy as np
import pytest
import torch

from conftest import make_dit_pipe
from frdiff.evaluation.opponents.gits import cheapest_path, gits_levels, step_costs
from frdiff.search.subject import Batch, PipelineSubject

INF = np.inf


def test_the_best_path_by_hand():
    costs = np.array(
        [
            [INF, 1.0, 4.0, 9.0, 16.0],
            [INF, INF, 1.0, 1.5, 9.0],
            [INF, INF, INF, 1.0, 4.0],
            [INF, INF, INF, INF, 1.0],
            [INF, INF, INF, INF, INF],
        ]
    )
    assert cheapest_path(costs, 4, 1.0) == [0, 1, 2, 3, 4]
    assert cheapest_path(costs, 3, 1.0) == [0, 1, 3, 4]  # 3.5
    assert cheapest_path(costs, 2, 1.0) == [0, 2, 4]  # 8; over 1 or 3 it is 10
    assert cheapest_path(costs, 1, 1.0) == [0, 4]


def test_the_coefficient_makes_later_steps_dearer():
    costs = np.array([[INF, 1.0, 2.5], [INF, INF, 2.0], [INF, INF, INF]])
    four = np.full((4, 4), INF)
    four[0, 1], four[0, 2] = 1.0, 2.5
    four[1, 3], four[2, 3] = 2.0, 1.0
    assert cheapest_path(costs, 2) == [0, 1, 2]
    assert cheapest_path(four, 2, 1.0) == [0, 1, 3]  # 3 against 3.5
    assert cheapest_path(four, 2, 2.0) == [0, 2, 3]  # 4.5 against 5


def test_a_straight_run_costs_nothing_and_a_bent_one_where_it_bends():
    levels = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0])
    along, across = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    first = torch.zeros(1, 2)
    later = np.triu_indices(5, 1)
    straight = step_costs(levels, first, torch.stack([along] * 4))
    assert (
        np.allclose(straight[later], 0, atol=1e-6)
        and np.isinf(straight[~np.triu(np.ones((5, 5), bool), 1)]).all()
    )
    bent = step_costs(levels, first, torch.stack([along, along, across, across]))
    assert bent[0, 2] == pytest.approx(0, abs=1e-6) and bent[2, 4] == pytest.approx(0, abs=1e-6)
    assert bent[0, 3] > 0.1 and bent[1, 4] > 0.1
    assert cheapest_path(bent, 2) == [0, 2, 4]


def test_levels_are_those_of_the_teacher():
    subject = PipelineSubject(make_dit_pipe(), 1.5, latents=True)
    own = subject.pipe.scheduler
    levels = gits_levels(subject, 5, [Batch(0, ("1", "2"))])
    assert subject.pipe.scheduler is own
    assert len(levels) == 6 and levels[-1] == 0
    assert (np.diff(levels) < 0).all()
    assert levels[0] == pytest.approx(14.61, abs=0.01)
    assert levels == gits_levels(subject, 5, [Batch(0, ("1", "2"))])
