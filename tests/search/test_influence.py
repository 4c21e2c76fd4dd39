"""Influences: what one score does to the sample."""

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from conftest import ddim, make_pipe
from frdiff.network.calls import tensor_of
from frdiff.sampling import set_scheduler
from frdiff.search.weights.influence import influences


@pytest.mark.parametrize(
    "name", ["ddim", "euler", "dpm++", "dpm++karras", "unipc", "unipckarras", "pndm", "lms"]
)
@pytest.mark.parametrize("start", [0, 3])
def test_the_final_sample_is_the_sum_of_scores_times_their_influences(name, start):
    pipe = make_pipe(scheduler=ddim())
    scheduler = set_scheduler(pipe, name)
    scheduler.set_timesteps(12)
    steps = len(scheduler.timesteps) - start
    influence = influences(scheduler, {"num_inference_steps": 12}, steps)
    assert influence.shape == (steps,)
    scheduler.set_timesteps(12)
    if start and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    scores = torch.randn(steps, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    sample = torch.zeros(1, 1, 1, 1)
    for timestep, score in zip(scheduler.timesteps[start:], scores, strict=True):
        scheduler.scale_model_input(sample, timestep)
        sample = tensor_of(scheduler.step(score, timestep, sample))
    assert sample.item() == pytest.approx(influence @ scores.flatten().numpy(), rel=1e-3)


@pytest.mark.parametrize("name", ["flow-euler", "flow-heun", "flow-unipc-karras", "flow-dpm++"])
def test_flow_matching_has_them_with_what_its_pipeline_gives_to_set_timesteps(name):
    pipe = make_pipe(scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))
    scheduler = set_scheduler(pipe, name)
    timing = {"sigmas": [1.0, 0.8, 0.6, 0.4, 0.2], "mu": 0.7}
    steps = 9 if name == "flow-heun" else 5
    influence = influences(scheduler, timing, steps)
    # Scores that are all alike move the sample by the noise there is.
    assert influence.sum() == pytest.approx(-1, abs=1e-3)


def test_solvers_that_add_noise_or_clip_have_none():
    adding = DDPMScheduler.from_config(ddim().config)
    before = torch.random.get_rng_state()
    assert influences(adding, {"num_inference_steps": 12}, 12) is None
    assert torch.equal(torch.random.get_rng_state(), before)
    clipping = ddim().from_config(ddim().config, clip_sample=True, clip_sample_range=0.1)
    assert influences(clipping, {"num_inference_steps": 12}, 12) is None
