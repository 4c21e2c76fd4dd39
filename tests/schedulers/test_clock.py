"""Run start, step count and step index from real schedulers."""

import copy
import inspect
import math

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from conftest import SCHEDULER, ddim
from frdiff.schedulers.clock import Clock
from frdiff.schedulers.levels import noise_coordinates

NAMES = {
    "ddim": ("DDIMScheduler", 10),
    "ddpm": ("DDPMScheduler", 10),
    "pndm": ("PNDMScheduler", 11),
    "pndm-prk": ("PNDMScheduler", 19),
    "euler": ("EulerDiscreteScheduler", 10),
    "euler-a": ("EulerAncestralDiscreteScheduler", 10),
    "heun": ("HeunDiscreteScheduler", 19),
    "dpm++": ("DPMSolverMultistepScheduler", 10),
    "dpm++sde": ("DPMSolverMultistepScheduler", 10),
    "unipc": ("UniPCMultistepScheduler", 10),
    "lms": ("LMSDiscreteScheduler", 10),
}


def make(name):
    options = dict(SCHEDULER)
    if name == "pndm":
        options["skip_prk_steps"] = True
    if name == "dpm++sde":
        options["algorithm_type"] = "sde-dpmsolver++"
    return getattr(diffusers, NAMES[name][0])(**options)


class Log:
    def __init__(self, scheduler):
        self.starts, self.steps = 0, []
        self.clock = Clock(scheduler, self.start, lambda *step: self.steps.append(step[:2]))

    def start(self):
        self.starts += 1
        self.steps.clear()


def walk(scheduler, timesteps, convert=lambda t: t):
    x = torch.ones(1, 1, 2, 2)
    for t in timesteps:
        scheduler.scale_model_input(x, t)
        x = scheduler.step(0.1 * x, convert(t), x).prev_sample


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_counted_once(name):
    scheduler = make(name)
    log = Log(scheduler)
    for _ in range(2):
        scheduler.set_timesteps(10)
        walk(scheduler, scheduler.timesteps)
        count = NAMES[name][1] if name != "pndm-prk" else len(scheduler.timesteps)
        assert log.steps == [(i, count) for i in range(count)]
    assert log.starts == 2


@pytest.mark.parametrize("name", ["ddim", "pndm", "dpm++", "heun"])
@pytest.mark.parametrize("skip", [1, 2, 4])
def test_a_run_that_starts_in_the_middle_has_fewer_steps(name, skip):
    scheduler = make(name)
    log = Log(scheduler)
    scheduler.set_timesteps(10)
    skip *= scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skip)
    walk(scheduler, scheduler.timesteps[skip:])
    count = len(scheduler.timesteps) - skip
    assert log.steps == [(i, count) for i in range(count)]


@pytest.mark.parametrize("convert", [int, torch.clone], ids=["int", "copy"])
def test_timesteps_that_are_no_views_are_found_by_value(convert):
    scheduler = ddim()
    log = Log(scheduler)
    scheduler.set_timesteps(10)
    walk(scheduler, scheduler.timesteps[4:], convert)
    assert log.steps == [(i, 6) for i in range(6)]


def test_custom_timesteps():
    scheduler = diffusers.DDPMScheduler(**SCHEDULER)
    log = Log(scheduler)
    scheduler.set_timesteps(timesteps=[900, 700, 300, 100, 5])
    walk(scheduler, scheduler.timesteps)
    assert log.steps == [(i, 5) for i in range(5)]


def test_a_second_loop_without_new_timesteps_is_a_new_run():
    scheduler = ddim()
    scheduler.set_timesteps(4)
    log = Log(scheduler)
    walk(scheduler, scheduler.timesteps)
    walk(scheduler, scheduler.timesteps)
    assert log.steps == [(i, 4) for i in range(4)] * 2


def test_an_aborted_run_that_goes_on_elsewhere_is_an_error():
    scheduler = ddim()
    log = Log(scheduler)
    scheduler.set_timesteps(10)
    walk(scheduler, scheduler.timesteps[:5])
    with pytest.raises(RuntimeError, match=r"number 6 of this run got .* 1, expected 6"):
        walk(scheduler, scheduler.timesteps)
    scheduler.set_timesteps(10)
    walk(scheduler, scheduler.timesteps)
    assert len(log.steps) == 10


def test_keyword_arguments_and_signatures():
    scheduler = ddim()
    plain = inspect.signature(scheduler.step), inspect.signature(scheduler.set_timesteps)
    log = Log(scheduler)
    assert (inspect.signature(scheduler.step), inspect.signature(scheduler.set_timesteps)) == plain
    scheduler.set_timesteps(num_inference_steps=2)
    x = torch.ones(1, 1, 2, 2)
    for t in scheduler.timesteps:
        scheduler.step(model_output=x, timestep=t, sample=x)
    assert log.steps == [(0, 2), (1, 2)]
    log.clock.detach()
    assert "step" not in scheduler.__dict__


def test_one_scheduler_drives_one_run():
    scheduler = ddim()
    Log(scheduler)
    with pytest.raises(ValueError, match=r"already drives another run.*from_config"):
        Log(scheduler)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pndm-prk"])
def test_noise_coordinates_fall_along_the_run(name):
    scheduler = make(name)
    scheduler.set_timesteps(10)
    levels = noise_coordinates(scheduler)
    assert len(levels) == len(scheduler.timesteps)
    assert levels == sorted(levels, reverse=True)


def test_noise_coordinates_agree_between_schedulers():
    one, other = make("dpm++"), DDIMScheduler(**SCHEDULER)
    one.set_timesteps(timesteps=[900, 500, 100])
    other.timesteps = torch.tensor([900, 500, 100])
    assert noise_coordinates(one) == pytest.approx(noise_coordinates(other), rel=1e-4)


def test_noise_coordinates_of_flow_matching_and_of_nothing():
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    assert noise_coordinates(scheduler)[0] == pytest.approx(0)

    class Bare:
        timesteps = torch.arange(3)

    with pytest.raises(ValueError, match=r"Bare tells no noise levels.*coordinate='step'"):
        noise_coordinates(Bare())


def test_a_method_wrapped_by_somebody_else_since_stays_and_ours_falls_silent():
    scheduler = ddim()
    log = Log(scheduler)
    ours = scheduler.step
    scheduler.step = lambda *args, **kwargs: ours(*args, **kwargs)
    theirs = scheduler.step
    log.clock.detach()
    assert scheduler.step is theirs
    scheduler.set_timesteps(4)
    walk(scheduler, scheduler.timesteps)
    assert log.steps == []


def test_a_copy_of_the_scheduler_is_its_own():
    """Several pipelines copy their scheduler, one for each of two streams."""
    scheduler = ddim()
    log = Log(scheduler)
    scheduler.set_timesteps(10)
    copied = copy.deepcopy(scheduler)
    copied.set_timesteps(4)
    walk(copied, copied.timesteps)
    assert (len(scheduler.timesteps), log.starts, log.steps) == (10, 1, [])
    walk(scheduler, scheduler.timesteps)
    assert len(log.steps) == 10


def test_the_timestep_is_found_by_its_name():
    scheduler = diffusers.CogVideoXDPMScheduler(**SCHEDULER)
    log = Log(scheduler)
    scheduler.set_timesteps(10)
    x, old = torch.ones(1, 1, 1, 2, 2), None
    timesteps = scheduler.timesteps
    for i, t in enumerate(timesteps):
        back = timesteps[i - 1] if i else None
        x, old = scheduler.step(0.1 * x, old, t, back, x, return_dict=False)
    assert log.steps == [(i, 10) for i in range(10)]


def test_zero_terminal_snr_has_a_finite_coordinate():
    scheduler = DDIMScheduler(**SCHEDULER, rescale_betas_zero_snr=True)
    scheduler.timesteps = torch.tensor([999, 500, 0])
    levels = noise_coordinates(scheduler)
    assert all(math.isfinite(level) for level in levels)
    assert levels == sorted(levels, reverse=True)
