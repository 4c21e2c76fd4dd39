"""Correctors: what one score does to the sample, and what a keyframe adds for the jumps before."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from conftest import ddim, make_pipe
from frdiff.calls import tensor_of
from frdiff.forecast import extrapolation_weights
from frdiff.sampling import set_scheduler
from frdiff.search.corrector import corrector_weights, influences


@pytest.mark.parametrize(
    "name", ["ddim", "euler", "dpm++", "dpm++karras", "unipc", "unipckarras", "pndm", "lms"]
)
@pytest.mark.parametrize("start", [0, 3])
def test_the_final_sample_is_the_sum_of_scores_times_their_influences(name, start):
    pipe = make_pipe(scheduler=ddim())
    scheduler = set_scheduler(pipe, name)
    scheduler.set_timesteps(12)
    steps = len(scheduler.timesteps) - start
    influence = influences(scheduler, 12, steps)
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


def test_solvers_that_add_noise_or_clip_have_none():
    before = torch.random.get_rng_state()
    assert influences(DDPMScheduler.from_config(ddim().config), 12, 12) is None
    assert torch.equal(torch.random.get_rng_state(), before)
    clipping = ddim().from_config(ddim().config, clip_sample=True, clip_sample_range=0.1)
    assert influences(clipping, 12, 12) is None


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_quadratic_scores_lose_nothing_to_jumps_that_are_made_up_for(depth):
    influence = np.random.default_rng(0).uniform(0.5, 2, size=12)
    scores = (np.arange(12) - 4.0) ** 2 + 3
    keyframes = (0, 1, 2, 5, 6, 10, 11)
    used, weights = np.zeros(12), []
    for step in range(12):
        stored = [key for key in reversed(keyframes) if key < step]
        if step in keyframes:
            jumps = weights[stored[0] + 1 :] if stored else []
            weights.append(corrector_weights(step, stored[:3], jumps, influence))
            nodes = [step, *stored]
        else:
            weights.append(extrapolation_weights(stored[:depth], step))
            nodes = stored
        assert sum(weights[-1]) == pytest.approx(1)
        used[step] = sum(w * scores[k] for w, k in zip(weights[-1], nodes, strict=False))
    assert influence @ used == pytest.approx(influence @ scores)
    # It was not the jumps that were right.
    assert (abs(used - scores) > 0.1).any() == (depth < 3)


def test_nothing_to_correct_leaves_a_keyframe_its_own_score():
    influence = np.ones(4)
    assert corrector_weights(0, [], [], influence) == [1.0]
    assert corrector_weights(2, [1, 0], [], influence) == [1.0]
    # A jump that copied, made up for: 1 + (what interpolation takes of the keyframe).
    assert corrector_weights(2, [0], [[1.0]], influence) == pytest.approx([1.5, -0.5])
    # A step without influence cannot make up for anything.
    assert corrector_weights(2, [0], [[1.0]], np.array([1.0, 1.0, 0.0, 1.0])) == [1.0]
