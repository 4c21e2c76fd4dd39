"""The published list comes out as it is, and other counts lie on the line through it."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from conftest import SCHEDULER
from frdiff.evaluation.opponents.ays import TIMES, ays_levels
from frdiff.evaluation.opponents.levels import noise_of

NOISE = noise_of(DPMSolverMultistepScheduler(**SCHEDULER))
# As the authors give them, with three digits.
PUBLISHED = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0]


def test_ten_evaluations_are_the_list():
    levels = ays_levels(NOISE, 10)
    assert levels == pytest.approx(PUBLISHED, rel=0.01)
    times = NOISE.time(torch.tensor(levels[:-1], dtype=torch.float64))
    assert times.tolist() == pytest.approx(list(TIMES), abs=1e-6)


def test_twice_as_many_have_the_list_and_the_geometric_means_in_between():
    ten, twenty = ays_levels(NOISE, 10), ays_levels(NOISE, 20)
    assert twenty[:-1:2] == pytest.approx(ten[:-1])
    means = [(ten[i] * ten[i + 1]) ** 0.5 for i in range(9)]
    assert twenty[1:-2:2] == pytest.approx(means)


@pytest.mark.parametrize(
    "scheduler",
    [DPMSolverMultistepScheduler(), FlowMatchEulerDiscreteScheduler()],
    ids=["other betas", "flow"],
)
def test_other_noise_is_refused(scheduler):
    with pytest.raises(ValueError, match="the AYS list is for noise levels"):
        ays_levels(noise_of(scheduler), 10)
