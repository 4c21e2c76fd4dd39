"""Noise levels laid on a scheduler: what it had before is what it does, and others are taken."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler

import frdiff
from conftest import make_dit_pipe
from frdiff.policy import TablePolicy, loads
from frdiff.schedulers import flow
from frdiff.schedulers.levels import has_levels, lay_levels, noise_coordinates, takes_levels

STEPS = 6
DIFFUSION = [
    ("EulerDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "final_sigmas_type": "zero"}),
    ("UniPCMultistepScheduler", {"use_karras_sigmas": True}),
    ("LMSDiscreteScheduler", {}),
]
FLOW = [
    (FlowMatchEulerDiscreteScheduler, {"shift": 3.0}),
    (flow.FlowUniPCScheduler, {}),
    (flow.FlowDPMScheduler, {"use_karras_sigmas": True}),
]


def schedulers():
    made = [getattr(diffusers, name)(**options) for name, options in DIFFUSION]
    return [*made, *(kind(**options) for kind, options in FLOW)]


def run(scheduler):
    """A run whose score is half the sample."""
    x = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2) * getattr(scheduler, "init_noise_sigma", 1)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(scaled / 2, t, x).prev_sample
    return x


@pytest.mark.parametrize("scheduler", schedulers(), ids=lambda one: type(one).__name__)
def test_its_own_levels_laid_change_nothing(scheduler):
    scheduler.set_timesteps(STEPS)
    plain = run(scheduler)
    scheduler.set_timesteps(STEPS)
    own, times = noise_coordinates(scheduler), scheduler.timesteps.double().numpy()
    assert takes_levels(scheduler)
    lay_levels(scheduler, own)
    assert has_levels(scheduler, own)
    # Some round the times that the network is told.
    assert np.abs(scheduler.timesteps.double().numpy() - times).max() < 1
    torch.testing.assert_close(run(scheduler), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheduler", schedulers(), ids=lambda one: type(one).__name__)
def test_other_levels_are_those_that_it_takes(scheduler):
    scheduler.set_timesteps(STEPS)
    own = noise_coordinates(scheduler)
    levels = [own[0], *(level - 0.1 for level in own[1:])]
    plain, end = run(scheduler), scheduler.sigmas[-1].clone()
    scheduler.set_timesteps(STEPS)
    lay_levels(scheduler, levels)
    assert scheduler.sigmas[-1] == end
    assert noise_coordinates(scheduler) == pytest.approx(levels, abs=1e-5)
    assert not torch.allclose(run(scheduler), plain, rtol=1e-3)


def test_times_are_those_at_which_training_had_the_level():
    scheduler = diffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(3)
    kept = scheduler.alphas_cumprod[[700, 300, 20]].double()
    lay_levels(scheduler, (((1 - kept) / kept).log() / 2).tolist())
    assert scheduler.timesteps.tolist() == pytest.approx([700, 300, 20], abs=1e-2)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(3)
    lay_levels(scheduler, np.log([0.9, 0.5, 0.25]).tolist())
    assert scheduler.timesteps.tolist() == pytest.approx([900, 500, 250])


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(), HeunDiscreteScheduler(), flow.FlowHeunScheduler()],
    ids=lambda one: type(one).__name__,
)
def test_what_has_no_level_of_its_own_for_every_step_takes_none(scheduler):
    scheduler.set_timesteps(STEPS)
    assert not takes_levels(scheduler)
    levels = np.log(np.linspace(0.9, 0.1, len(scheduler.timesteps))).tolist()
    with pytest.raises(ValueError, match="takes none but its own"):
        lay_levels(scheduler, levels)


def test_another_number_of_steps_is_refused():
    scheduler = diffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="num_inference_steps=3"):
        lay_levels(scheduler, [2.0, 1.0, 0.0])


def table(levels):
    return TablePolicy(len(levels), [(0,)] * len(levels), targets=(), noise_levels=levels)


def test_a_policy_lays_its_levels_on_whatever_pipeline_and_only_while_applied():
    pipe = make_dit_pipe()
    frdiff.set_scheduler(pipe, "dpm++karras")
    pipe.scheduler.set_timesteps(STEPS)
    own = noise_coordinates(pipe.scheduler)
    levels = [own[0], *(level - 0.2 for level in own[1:])]
    policy = loads(table(levels).dumps())
    with frdiff.apply(pipe, policy) as run:
        pipe([1], num_inference_steps=STEPS, output_type="latent")
        assert run.noise_levels == pytest.approx(levels, abs=1e-5)
    pipe([1], num_inference_steps=STEPS, output_type="latent")
    assert noise_coordinates(pipe.scheduler) == pytest.approx(own)


def test_timesteps_set_before_the_policy_was_applied_are_refused():
    scheduler, net = diffusers.EulerDiscreteScheduler(), torch.nn.Identity()
    scheduler.set_timesteps(3)
    levels = [2.0, 1.0, 0.0]
    with frdiff.apply(net, table(levels), scheduler=scheduler):
        sample, t = torch.ones(1, 3), scheduler.timesteps[0]
        net(sample)
        with pytest.raises(RuntimeError, match="set_timesteps"):
            scheduler.step(sample, t, sample)


def test_levels_must_fall():
    with pytest.raises(ValueError, match="must fall"):
        table([1.0, 1.0, 0.0])
