"""Linear solvers step as the schedulers do that they were made from."""

import copy

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from conftest import SCHEDULER
from frdiff.evaluation.opponents.forms import euler, linear_form
from frdiff.evaluation.opponents.levels import levels_of, noise_of, on_levels
from frdiff.evaluation.opponents.linear import LinearScheduler, LinearSolver
from frdiff.schedulers.flow import FlowDPMScheduler, FlowUniPCScheduler

STEPS = 6
KARRAS = {"use_karras_sigmas": True}
SOLVERS = {
    "dpm++": DPMSolverMultistepScheduler(**SCHEDULER),
    "dpm++ karras": DPMSolverMultistepScheduler(**SCHEDULER, **KARRAS),
    "unipc": UniPCMultistepScheduler(**SCHEDULER),
    "unipc karras, v": UniPCMultistepScheduler(
        **SCHEDULER, **KARRAS, prediction_type="v_prediction"
    ),
    "flow dpm++": FlowDPMScheduler(shift=3.0),
    "flow unipc karras": FlowUniPCScheduler(**KARRAS),
    "flow euler": FlowMatchEulerDiscreteScheduler(shift=3.0),
}


def sampled(scheduler, steps=STEPS):
    """A run with scores that depend on sample and time; samples at every level."""
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(steps)
    samples = [x]
    for t in scheduler.timesteps:
        x = scheduler.step(torch.sin(3 * x) + t.round() / 1000, t, x, return_dict=False)[0]
        samples.append(x)
    return torch.stack(samples)


@pytest.mark.parametrize("scheduler", SOLVERS.values(), ids=SOLVERS)
def test_a_scheduler_and_its_linear_form_draw_the_same(scheduler):
    solver = linear_form(scheduler, STEPS)
    linear = LinearScheduler.of(solver, noise_of(scheduler))
    assert torch.allclose(sampled(linear), sampled(scheduler), atol=2e-4)
    # Scores that never change are followed by any solver.
    assert torch.allclose(solver.weights.sum(1), torch.ones(STEPS), atol=1e-3)


def test_eulers_weights_give_eulers_method_bit_for_bit():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    linear = LinearScheduler.of(euler(levels_of(scheduler)), noise_of(scheduler))
    assert torch.equal(sampled(linear), sampled(scheduler))


def test_a_solver_of_two_evaluations_a_step_is_refused():
    with pytest.raises(ValueError, match="HeunDiscreteScheduler has no linear form"):
        linear_form(HeunDiscreteScheduler(**SCHEDULER), STEPS)


def test_a_run_of_another_length_is_refused():
    scheduler = SOLVERS["dpm++"]
    linear = LinearScheduler.of(linear_form(scheduler, STEPS), noise_of(scheduler))
    with pytest.raises(ValueError, match="takes 6 steps, got 7"):
        linear.set_timesteps(7)


def test_a_solver_survives_its_file(tmp_path):
    solver = linear_form(SOLVERS["unipc"], STEPS)
    solver.save(tmp_path / "solver.json")
    loaded = LinearSolver.load(tmp_path / "solver.json")
    assert all(torch.equal(vars(loaded)[name], value) for name, value in vars(solver).items())


@pytest.mark.parametrize("name", ["dpm++", "unipc", "flow euler", "flow dpm++"])
def test_a_scheduler_put_on_its_own_levels_is_as_before(name):
    scheduler = copy.deepcopy(SOLVERS[name])
    before = sampled(scheduler)
    levels = levels_of(scheduler).tolist()
    with on_levels(scheduler, levels):
        assert torch.allclose(sampled(scheduler), before, atol=1e-5)
        with pytest.raises(ValueError, match="for 6 steps, but the run has 7"):
            scheduler.set_timesteps(7)
    assert torch.equal(sampled(scheduler), before)


def test_known_times_have_their_levels_and_others_lie_between():
    scheduler = SOLVERS["dpm++"]
    noise = noise_of(scheduler)
    levels = noise.known.exp()
    times = torch.arange(1000, dtype=torch.float64)
    assert torch.allclose(noise.time(levels), times)
    assert torch.allclose(noise.time((levels[1:] * levels[:-1]).sqrt()), times[:-1] + 0.5)


def test_rising_levels_are_refused():
    with pytest.raises(ValueError, match="rising or unknown"):
        noise_of(FlowMatchEulerDiscreteScheduler(invert_sigmas=True))
