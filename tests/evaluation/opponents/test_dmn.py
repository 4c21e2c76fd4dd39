"""DMN's levels fall, and their bound is below that of even ones; the bound itself by hand."""

import numpy as np
import pytest
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from conftest import SCHEDULER
from frdiff.evaluation.opponents.dmn import dmn_levels, error_bound
from frdiff.evaluation.opponents.levels import noise_of

NOISE = noise_of(DPMSolverMultistepScheduler(**SCHEDULER))


def test_one_step_weighs_its_prediction_by_the_integral():
    # int exp(l) from 0 to 1; at l = 0 data and noise weigh sqrt(1/2) each.
    assert error_bound(np.array([0.0, 1.0]), 1) == pytest.approx(np.e - 1)
    assert error_bound(np.array([0.0, 1.0]), 2) == pytest.approx((np.e - 1) * 0.5**0.5)


def test_two_steps_of_first_order_add_up():
    # The last step is of order 1, as the first is.
    expected = (np.e - 1) * 1 + (np.e**2 - np.e) * np.exp(-1)
    assert error_bound(np.array([0.0, 1.0, 2.0]), 1) == pytest.approx(expected)


def test_a_step_of_second_order_by_hand():
    # Over [1, 2] with predictions at 0 and 1: int exp(l) l = e^2 for the newer, and
    # int exp(l) (1 - l) = -e for the older; few steps do not cancel.
    newer, older = np.e**2, np.e
    first, last = np.e - 1, np.e**3 - np.e**2
    expected = (first + older) + newer * np.exp(-1) + last * np.exp(-2)
    assert error_bound(np.array([0.0, 1.0, 2.0, 3.0]), 1) == pytest.approx(expected)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("steps", [6, 10])
def test_levels_fall_and_their_bound_is_below_that_of_even_ones(steps, power):
    levels = dmn_levels(NOISE, steps, power)
    first, last = NOISE.known[-1].exp().item(), NOISE.known[0].exp().item()
    assert len(levels) == steps + 1 and levels[-1] == 0
    assert levels[0] == pytest.approx(first)
    nodes = -np.log([*levels[:-1], last])
    assert (np.diff(nodes) > 0).all()
    even = np.linspace(nodes[0], nodes[-1], steps + 1)
    in_time = np.interp(np.linspace(0, 999, steps + 1), range(1000), -NOISE.known.numpy()[::-1])
    assert error_bound(nodes, power) < 0.95 * min(
        error_bound(even, power), error_bound(in_time, power)
    )


def test_flow_matching_is_refused():
    with pytest.raises(ValueError, match="for diffusion"):
        dmn_levels(noise_of(FlowMatchEulerDiscreteScheduler()), 8, 2)
