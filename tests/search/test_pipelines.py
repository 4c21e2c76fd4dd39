"""`tune` on every pipeline of the zoo, as a user would call it."""

import pytest

import frdiff
from frdiff.sampling import sample
from pipelines_zoo import zoo

# Of 12 steps few are left, and whoever asks for so few is told.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*expect little speed-up"),
]
QUICK = {"num_steps": 12, "speedup": 2, "samples": 1, "evaluations": 4}


FLOWS = ["stable-diffusion-3", "flux", "wan", "mochi"]


@pytest.mark.parametrize("name", zoo())
def test_tuned_on_any_pipeline_it_is_no_worse_than_fewer_steps_and_applies(name):
    tiny = zoo()[name]()
    policy = frdiff.tune(tiny.pipe, tiny.prompts, inputs=tiny.inputs, **QUICK)
    figures = policy.origin.figures
    assert figures["held_out_db"] >= figures["fewer_steps_held_out_db"]
    assert figures["cost"] <= figures["full_steps"] / 2
    steps = policy.origin.num_inference_steps
    with frdiff.apply(tiny.pipe, policy) as run:
        sample(tiny.pipe, (tiny.prompts or [""])[:1], steps=steps, inputs=tiny.inputs)
    assert len(run.plan) == policy.num_steps
    assert run.stats.macs_ratio * run.stats.steps <= figures["cost"] + 1e-3


@pytest.mark.parametrize("name", FLOWS)
def test_flow_matching_may_change_solver_and_noise_levels(name):
    tiny = zoo()[name]()
    own = tiny.pipe.scheduler
    policy = frdiff.tune(tiny.pipe, inputs=tiny.inputs, allow_scheduler=True, **QUICK)
    figures = policy.origin.figures
    assert tiny.pipe.scheduler is own
    assert figures["held_out_db"] >= figures["fewer_steps_held_out_db"]
    if policy.origin.solver is not None:
        frdiff.set_scheduler(tiny.pipe, policy.origin.solver)
    with frdiff.apply(tiny.pipe, policy) as run:
        sample(tiny.pipe, [""], steps=policy.origin.num_inference_steps, inputs=tiny.inputs)
    assert len(run.plan) == policy.num_steps
