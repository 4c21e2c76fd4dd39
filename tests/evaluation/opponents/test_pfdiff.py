"""PFDiff is exact where scores are constant, and by hand where they are linear."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from frdiff.evaluation.opponents.levels import noise_of
from frdiff.evaluation.opponents.linear import LinearScheduler
from frdiff.evaluation.opponents.pfdiff import grid_steps, pfdiff

NOISE = noise_of(FlowMatchEulerDiscreteScheduler())
LEVELS = torch.tensor([1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.15, 0.0])


def drawn(solver, score):
    scheduler = LinearScheduler.of(solver, NOISE)
    scheduler.set_timesteps(len(solver.own))
    x = torch.ones(1)
    for level, t in zip(solver.levels, scheduler.timesteps, strict=False):
        x = scheduler.step(score(x, level), t, x).prev_sample
    return x


def test_three_evaluations_take_seven_steps():
    assert grid_steps(3) == 7 and grid_steps(1) == 1 and grid_steps(3, skipped=1) == 5
    solver = pfdiff(LEVELS)
    # Springboards lie one level after the 2nd and the 5th.
    assert torch.equal(solver.levels, LEVELS[[0, 2, 5, 7]])


def test_constant_scores_are_followed_exactly():
    assert drawn(pfdiff(LEVELS), lambda x, level: 3 + 0 * x).item() == pytest.approx(
        1 - 3, abs=1e-6
    )


def test_linear_scores_by_hand():
    def score(x, level):
        return 2 * x + level

    x = torch.ones(1)
    last = score(x, 1.0)
    x = x + (0.9 - 1.0) * last
    for start, board, end in ((0.9, 0.7, 0.4), (0.4, 0.3, 0.0)):
        last = score(x + (board - start) * last, board)
        x = x + (end - start) * last
    assert torch.allclose(drawn(pfdiff(LEVELS), score), x, atol=1e-6)


def test_one_skipped_by_hand():
    levels = LEVELS[[0, 1, 2, 3, 4, 7]]
    solver = pfdiff(levels, skipped=1)
    assert torch.equal(solver.levels, levels[[0, 2, 4, 5]])
    assert drawn(solver, lambda x, level: 1 + 0 * x).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("count", "skipped", "ahead"), [(7, 2, 1), (8, 2, 3), (8, 2, 0)])
def test_grids_that_no_evaluations_fit_are_refused(count, skipped, ahead):
    with pytest.raises(ValueError, match="needs 1 <= ahead <= skipped"):
        pfdiff(torch.linspace(1, 0, count), skipped, ahead)
