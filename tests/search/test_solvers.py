import copy

import pytest
from diffusers import (
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from conftest import ddim, loop, make_pipe, make_unet
from frdiff.sampling import set_scheduler
from frdiff.search.solvers import converged, run_length, scheduler_of, solvers_of
from frdiff.search.subject import LoopSubject, PipelineSubject


def subject(scheduler=None):
    return PipelineSubject(make_pipe(scheduler=scheduler))


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, HeunDiscreteScheduler])
def test_deterministic_solvers_converge_to_the_same_and_may_be_exchanged(kind):
    own = subject(kind.from_config(ddim().config))
    assert solvers_of(own, allow_scheduler=True) == [
        None,
        "dpm++",
        "unipc",
        "dpm++karras",
        "unipckarras",
    ]
    truth = converged(own, 12)
    assert (truth.steps, truth.scheduler) == (100, "dpm++karras")
    assert converged(own, 75).steps == 150


def test_the_own_solver_is_no_choice_twice():
    own = subject(ddim())
    set_scheduler(own.pipe, "unipc")
    assert solvers_of(own, allow_scheduler=True) == [None, "dpm++", "dpm++karras", "unipckarras"]


def test_one_that_adds_noise_is_measured_against_its_own_full_run():
    own = subject(DDPMScheduler.from_config(ddim().config))
    truth = converged(own, 12)
    assert (truth.steps, truth.scheduler) == (12, None)
    with pytest.raises(ValueError, match="no other scheduler that draws the same"):
        solvers_of(own, allow_scheduler=True)


def test_flow_matching_converges_by_more_steps_of_its_own():
    own = subject(FlowMatchEulerDiscreteScheduler())
    truth = converged(own, 12)
    assert (truth.steps, truth.scheduler) == (48, None)
    assert solvers_of(own, allow_scheduler=False) == [None]


def test_a_hand_written_loop_is_measured_against_its_full_run():
    unet, scheduler = make_unet(), ddim()
    own = LoopSubject(lambda generator: loop(unet, scheduler), unet, scheduler)
    truth = converged(own, 12)
    assert (truth.steps, truth.scheduler) == (12, None)


def test_lengths_are_those_of_the_scheduler_and_leave_it_alone():
    heun = HeunDiscreteScheduler.from_config(ddim().config)
    own = subject(heun)
    before = copy.deepcopy(vars(heun))
    assert run_length(own, None, 12) == 23
    assert run_length(own, "dpm++", 12) == 12
    assert vars(heun).keys() == before.keys()
    assert scheduler_of(own, None) is own.pipe.scheduler is heun
    assert type(scheduler_of(own, "unipc")).__name__ == "UniPCMultistepScheduler"
    assert own.pipe.scheduler is heun


def test_a_scheduler_that_wants_more_is_taken_at_its_word():
    flow = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    assert run_length(subject(flow), None, 12) == 12
