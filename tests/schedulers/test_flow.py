"""Flow matching: solvers of second order on whatever noise levels Euler's scheduler would set."""

import copy
import inspect

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)

from frdiff.choices import FLOW_LEVELS, FLOW_SOLVERS
from frdiff.schedulers.flow import FlowDPMScheduler, FlowHeunScheduler, FlowUniPCScheduler
from frdiff.schedulers.named import (
    converging,
    crossed,
    flow_schedulers,
    interchangeable,
    is_flow,
    scheduler_name,
    set_scheduler,
)

SECOND = (FlowHeunScheduler, FlowUniPCScheduler, FlowDPMScheduler)
SPREAD = 0.3  # of the data, which are normal


class Pipe:
    """As far as `set_scheduler` knows a pipeline."""

    def __init__(self, scheduler):
        self.scheduler = scheduler


def velocity(x, level):
    """The exact one at a noise level: what noise is expected to be less what data are."""
    variance = (1 - level) ** 2 * SPREAD**2 + level**2
    return x * (level - (1 - level) * SPREAD**2) / variance


def missed(scheduler, steps, **timing):
    """The relative error at the end; the exact path ends at the noise times the data's spread."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    scheduler.set_timesteps(*([] if "sigmas" in timing else [steps]), **timing)
    x = noise
    for t in scheduler.timesteps:
        level = 1 - t / 1000 if scheduler.config.invert_sigmas else t / 1000
        sign = -1 if scheduler.config.invert_sigmas else 1
        x = scheduler.step(sign * velocity(x, level), t, x).prev_sample
    return ((x - SPREAD * noise).norm() / (SPREAD * noise).norm()).item()


@pytest.mark.parametrize("kind", SECOND)
def test_twice_as_many_steps_leave_less_than_a_third_of_the_error(kind):
    few, many = (missed(kind(use_karras_sigmas=True), steps) for steps in (40, 80))
    assert few > 3 * many
    euler = missed(FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True), 80)
    assert many < euler / 10


@pytest.mark.parametrize("kind", SECOND)
@pytest.mark.parametrize(
    ("options", "timing"),
    [
        ({"shift": 3.0}, {}),
        ({"shift": 3.0}, {"sigmas": list(np.linspace(1, 0.1, 10))}),
        ({"use_dynamic_shifting": True}, {"sigmas": list(np.linspace(1, 0.1, 10)), "mu": 0.7}),
        ({"use_beta_sigmas": True, "shift_terminal": 0.1}, {}),
    ],
)
def test_levels_and_times_are_those_of_eulers_scheduler(kind, options, timing):
    euler, ours = FlowMatchEulerDiscreteScheduler(**options), kind(**options)
    given = timing if "sigmas" in timing else {"num_inference_steps": 10}
    euler.set_timesteps(**given)
    ours.set_timesteps(**given)
    for name in ("timesteps", "sigmas"):
        # Heun has each but the first twice.
        wanted, found = (getattr(scheduler, name).unique() for scheduler in (euler, ours))
        assert torch.equal(wanted, found)
    assert len(ours.timesteps) == (19 if kind is FlowHeunScheduler else 10)


@pytest.mark.parametrize("kind", SECOND)
def test_levels_that_rise_from_zero_are_solved_alike(kind):
    falling, rising = (
        missed(kind(invert_sigmas=inverted), 20, sigmas=list(np.linspace(1, 0.05, 20)))
        for inverted in (False, True)
    )
    assert rising == pytest.approx(falling, rel=1e-3)


@pytest.mark.parametrize("kind", SECOND)
def test_a_run_may_begin_in_the_middle_and_on_a_copy(kind):
    scheduler = kind()
    scheduler.set_timesteps(10)
    first = 4 * scheduler.order
    results = []
    for one in (scheduler, copy.deepcopy(scheduler)):
        one.set_begin_index(first)
        x = torch.ones(1, 3)
        for t in one.timesteps[first:]:
            x = one.step(velocity(x, t / 1000), t, x, return_dict=False)[0]
        results.append(x)
        assert one.step_index == len(one.timesteps)
    assert torch.equal(*results)
    assert "sigmas" in inspect.signature(scheduler.set_timesteps).parameters


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
@pytest.mark.parametrize("levels", ["", *(f"-{name}" for name in FLOW_LEVELS)])
def test_names_set_solver_and_levels_and_are_known_again(solver, levels):
    pipe = Pipe(FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True))
    made = set_scheduler(pipe, solver + levels)
    assert pipe.scheduler is made
    assert type(made).__name__ == FLOW_SOLVERS[solver]
    assert scheduler_name(made) == solver + levels
    assert (made.config.shift, made.config.use_dynamic_shifting) == (3.0, True)
    assert is_flow(made) and interchangeable(made)


def test_a_name_may_set_the_shift():
    pipe = Pipe(FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True, use_dynamic_shifting=True))
    made = set_scheduler(pipe, "flow-unipc-shift-2.5")
    found = made.config
    assert (found.shift, found.use_karras_sigmas, found.use_dynamic_shifting) == (2.5, False, False)


def test_multistep_schedulers_of_flow_matching_give_their_shift():
    own = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    made = set_scheduler(Pipe(own), "flow-heun-karras")
    assert (type(made), made.config.shift) == (FlowHeunScheduler, 5.0)
    assert "use_flow_sigmas" not in made.config


def test_names_of_one_kind_are_refused_for_the_other():
    with pytest.raises(ValueError, match="does not sample by flow matching but with DDIM"):
        set_scheduler(Pipe(DDIMScheduler()), "flow-heun")
    with pytest.raises(ValueError, match="cannot replace; choose one of flow-euler, flow-heun"):
        set_scheduler(Pipe(FlowMatchEulerDiscreteScheduler()), "dpm++")
    for name in ("flow-magic", "flow-heun-shift-", "flow-heun-karras-beta"):
        with pytest.raises(ValueError, match=f"no scheduler '{name}'.*such as -shift-1.5"):
            set_scheduler(Pipe(FlowMatchEulerDiscreteScheduler()), name)


def test_those_that_add_noise_are_exchanged_with_none():
    noisy = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    for scheduler in (noisy, FlowMatchLCMScheduler()):
        assert not is_flow(scheduler)
        assert converging(scheduler) is None
    assert converging(FlowMatchEulerDiscreteScheduler()) == "flow-unipc-karras"
    assert converging(DDIMScheduler()) == "dpm++karras"


def test_choices_are_all_solvers_and_then_all_of_them_on_the_best_levels():
    names = flow_schedulers()
    assert set(FLOW_SOLVERS) < set(names)
    for name in names:
        set_scheduler(Pipe(FlowMatchEulerDiscreteScheduler()), name)
    found = crossed(["flow-euler-karras", None, "flow-unipc", "flow-euler-beta"])
    assert found == [*(f"{solver}-karras" for solver in FLOW_SOLVERS), *FLOW_SOLVERS]
    assert crossed([None, "dpm++", "unipc"]) == []
