import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
)

from conftest import EMBED, ddim, loop, make_pipe, make_unet
from frdiff.sampling import set_scheduler
from frdiff.search.solvers import Lengths, converged, solvers_of
from frdiff.search.subject import Batch, LoopSubject, PipelineSubject, scheduler_of

ONE = Batch(0, ("",))


def subject(scheduler=None):
    return PipelineSubject(make_pipe(scheduler=scheduler), latents=True, inputs=inputs())


def inputs():
    embeds = torch.randn(1, 5, EMBED, generator=torch.Generator().manual_seed(0))
    return {
        "prompt_embeds": embeds,
        "negative_prompt_embeds": torch.zeros_like(embeds),
        "height": 16,
        "width": 16,
    }


def truth_of(own, num_steps, errors):
    """The truth among settings whose samples are off the same signal by what `errors` gives."""
    signal = np.linspace(-1, 1, 1000)[None]

    def draws(settings):
        return [signal + errors(setting.scheduler, setting.steps) for setting in settings]

    return converged(own, num_steps, lambda solver, steps: steps, draws)


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, HeunDiscreteScheduler])
def test_deterministic_solvers_may_be_exchanged(kind):
    own = subject(kind.from_config(ddim().config))
    assert solvers_of(own, allow_scheduler=True) == [
        None,
        "dpm++",
        "unipc",
        "dpm++karras",
        "unipckarras",
    ]


def test_the_converged_solution_is_of_the_two_that_agree_best_the_cheaper():
    own = subject(ddim())
    karras = {"dpm++karras": 1e-4, "unipckarras": 2e-4}
    truth = truth_of(own, 12, lambda solver, steps: karras.get(solver, 1 / steps))
    assert (truth.setting.steps, truth.setting.scheduler) == (100, "dpm++karras")
    # 1e-4 beside a standard deviation of 0.58 is 75 dB.
    assert truth.agreement == pytest.approx(75.2, abs=0.1)
    even = {"dpm++": 1e-5, "unipc": 2e-5}
    truth = truth_of(own, 75, lambda solver, steps: even.get(solver, 1 / steps))
    assert (truth.setting.steps, truth.setting.scheduler) == (150, "dpm++")


def test_half_the_steps_are_enough_where_they_agree_so_well():
    karras = {"dpm++karras": 1e-5, "unipckarras": 2e-5}
    truth = truth_of(subject(ddim()), 12, lambda solver, steps: karras.get(solver, 1 / steps))
    assert (truth.setting.steps, truth.setting.scheduler) == (50, "dpm++karras")
    assert truth.agreement == pytest.approx(95.2, abs=0.1)
    assert truth.drawn == 50 + 75


def test_the_own_solver_is_no_choice_twice():
    own = subject(ddim())
    set_scheduler(own.pipe, "unipc")
    assert solvers_of(own, allow_scheduler=True) == [None, "dpm++", "dpm++karras", "unipckarras"]


def test_one_that_adds_noise_is_measured_against_its_own_full_run():
    own = subject(DDPMScheduler.from_config(ddim().config))
    truth = truth_of(own, 12, lambda solver, steps: 0.0)
    assert (truth.setting.steps, truth.setting.scheduler, truth.agreement) == (12, None, None)
    with pytest.raises(ValueError, match="no other scheduler that draws the same"):
        solvers_of(own, allow_scheduler=True)


def hand_written(takes_steps):
    unet, scheduler = make_unet(), ddim()

    def fixed(generator):
        return loop(unet, scheduler, 12)

    def free(generator, steps):
        return loop(unet, scheduler, steps)

    return LoopSubject(free if takes_steps else fixed, unet, scheduler)


def test_a_loop_of_fixed_length_is_measured_against_its_full_run():
    truth = truth_of(hand_written(False), 12, lambda solver, steps: 0.0)
    assert (truth.setting.steps, truth.setting.scheduler, truth.agreement) == (12, None, None)


def test_a_loop_that_takes_steps_is_measured_against_many_if_those_come_closer():
    own = hand_written(True)
    truth = truth_of(own, 12, lambda solver, steps: 1 / steps)
    assert (truth.setting.steps, truth.setting.scheduler) == (48, None)
    # 1/24 - 1/48 beside a standard deviation of 0.58.
    assert truth.agreement == pytest.approx(28.9, abs=0.1)
    noise = np.random.default_rng(0)
    truth = truth_of(own, 12, lambda solver, steps: noise.normal(size=1000))
    assert (truth.setting.steps, truth.agreement) == (12, None)


def test_a_scheduler_without_more_steps_than_twice_as_many_has_no_converged_solution():
    own = hand_written(True)
    own.scheduler.register_to_config(num_train_timesteps=20)
    truth = truth_of(own, 12, lambda solver, steps: 1 / steps)
    assert (truth.setting.steps, truth.agreement) == (12, None)


@pytest.mark.parametrize("takes_steps", [True, False])
def test_whether_a_loop_takes_the_step_count_is_seen_from_its_signature(takes_steps):
    assert hand_written(takes_steps).takes_steps is takes_steps
    unet, scheduler = make_unet(), ddim()
    assert LoopSubject(lambda g, num_steps=12: None, unet, scheduler).takes_steps
    assert not LoopSubject(lambda g, unet=unet: None, unet, scheduler).takes_steps
    assert not LoopSubject(lambda g, **options: None, unet, scheduler).takes_steps


def test_lengths_are_those_of_the_scheduler_and_leave_it_alone():
    heun = HeunDiscreteScheduler.from_config(ddim().config)
    own = subject(heun)
    length = Lengths(own, 12, ONE)
    assert [length(None, 12), length(None, 8), length("dpm++", 12)] == [23, 15, 12]
    assert not {"step", "set_timesteps"} & vars(heun).keys()
    assert scheduler_of(own, None) is own.pipe.scheduler is heun
    assert type(scheduler_of(own, "unipc")).__name__ == "UniPCMultistepScheduler"
    assert own.pipe.scheduler is heun


def test_lengths_of_runs_that_begin_in_the_middle_are_learnt_from_runs():
    pipe = make_pipe(StableDiffusionImg2ImgPipeline)
    picture = np.full((16, 16, 3), 0.5, np.float32)
    given = {name: value for name, value in inputs().items() if "embeds" in name}
    own = PipelineSubject(pipe, latents=True, inputs=given | {"image": picture, "strength": 0.6})
    length = Lengths(own, 20, ONE)
    assert [length(None, steps) for steps in (20, 12, 10)] == [12, 7, 6]
    assert length("unipckarras", 20) == 12
    assert length(None, 1) == 0
    assert "forward" not in vars(pipe.unet)


def test_a_scheduler_that_wants_more_is_seen_at_work():
    def dynamic(generator, steps):
        scheduler.set_timesteps(steps, mu=0.5)
        return loop(unet, NoTimesteps(scheduler), steps)

    class NoTimesteps:
        """A scheduler whose timesteps are set already."""

        def __init__(self, scheduler):
            self.scheduler = scheduler
            self.init_noise_sigma = 1.0

        def set_timesteps(self, steps):
            pass

        def scale_model_input(self, sample, timestep):
            return sample

        def __getattr__(self, name):
            return getattr(self.scheduler, name)

    unet, scheduler = make_unet(), FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    length = Lengths(LoopSubject(dynamic, unet, scheduler), 12, ONE)
    assert [length(None, 12), length(None, 7)] == [12, 7]
