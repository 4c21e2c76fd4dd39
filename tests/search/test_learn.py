"""Learning: the weights found are the right ones where these are known, and samples end nearer."""

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import nn

from conftest import ddim, loop, make_dit_pipe, make_unet
from frdiff.policy import TablePolicy
from frdiff.search.measure import decibels
from frdiff.search.schedules.space import in_full
from frdiff.search.subject import Batch, LoopSubject, PipelineSubject
from frdiff.search.weights.learn import LOOKS, learn_table
from frdiff.setting import Setting

STEPS = 4
BATCHES = [Batch(0, ("1", "2", "3")), Batch(7, ("4",))]
TRUE = [np.zeros((len(batch.prompts), 4, 8, 8)) for batch in BATCHES]


def table(jumps=(), rows=None):
    return TablePolicy(
        STEPS,
        [() if step in jumps else (0,) for step in range(STEPS)],
        mixing_weights=[float(step not in jumps) for step in range(STEPS)],
        score_weights=rows,
        targets=(),
    )


@pytest.mark.parametrize("jumps", [(), (1, 3)], ids=["keyframes", "jumps"])
def test_weights_that_were_planted_are_found(jumps):
    """The samples to come near to are those of known weights, so nothing is left to be wanted."""
    subject = PipelineSubject(make_dit_pipe(), guidance=1.5, latents=True)
    computed = [step for step in range(STEPS) if step not in jumps]
    planted = {0: [0.9], 1: [1.1, -0.2], 2: [1.2, -0.1, 0.1], 3: [0.8, 0.3]}
    rows = [planted[len([key for key in computed if key <= step]) - 1] for step in range(STEPS)]
    truth, start = (
        Setting(STEPS, table(jumps, weights), "unipckarras") for weights in (rows, None)
    )
    shares = []
    wanted = [subject.draw(truth, batch) for batch in BATCHES]
    learnt = learn_table(subject, start, BATCHES, wanted, 150.0, shares.append)
    assert 0 < learnt.spent <= 150
    assert shares[-1] == pytest.approx(learnt.spent / 150)
    assert learnt == learn_table(subject, start, BATCHES, wanted, 150.0)
    found = Setting(STEPS, learnt.policy, "unipckarras")
    before, after = (
        [decibels(*(subject.draw(each, batch) for each in (truth, one)), None) for batch in BATCHES]
        for one in (start, found)
    )
    assert np.min(np.concatenate(after) - np.concatenate(before)) > 20


def test_what_pays_for_no_look_at_the_weights_learns_nothing():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    assert learn_table(subject, Setting(STEPS, table()), BATCHES, TRUE, STEPS / LOOKS[-1]) is None


def test_the_more_is_paid_for_the_more_scores_are_weighed():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    # A look takes a run, 4 steps, and what comes after each step for the newest score's weight and
    # for the sample's, 6 steps each. DDIM takes no other noise levels.
    cheap = learn_table(subject, Setting(STEPS, table()), BATCHES, TRUE, 16 / LOOKS[-1])
    dear = learn_table(subject, Setting(STEPS, table()), BATCHES, TRUE, 100)
    assert [len(row) for row in cheap.policy.score_weights] == [1, 1, 1, 1]
    assert [len(row) for row in dear.policy.score_weights] == [1, 2, 3, 4]


class Constant(nn.Module):
    """A score that is the same everywhere, so that a run is right if its steps sum up right."""

    def forward(self, x, t):
        return (torch.ones_like(x),)


def test_a_step_too_short_is_made_longer():
    scheduler, net = EulerDiscreteScheduler(), Constant()

    def draw(generator, steps):
        x = torch.randn(2, 3, generator=generator)
        scheduler.set_timesteps(steps)
        x = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t)[0], t, x).prev_sample
        return x

    subject = LoopSubject(draw, net, scheduler)
    half = TablePolicy(STEPS, [(0,)] * STEPS, score_weights=[[0.5]] * STEPS, targets=())
    batches = [Batch(0, ("", ""))]
    wanted = [subject.draw(Setting(STEPS, in_full(STEPS)), batches[0])]
    learnt = learn_table(subject, Setting(STEPS, half), batches, wanted, 200.0)
    found = subject.draw(Setting(STEPS, learnt.policy), batches[0])
    scheduler.set_timesteps(STEPS)
    halfway = scheduler.sigmas[0].item() / 2  # which is by how much the steps were too short
    assert np.abs(found - wanted[0]).max() < 1e-3 * halfway


def test_reuse_steps_keep_the_score_that_they_compute():
    unet, scheduler = make_unet(), ddim()

    def draw(generator, steps):
        return loop(unet, scheduler, steps=steps, seed=generator.initial_seed())

    subject = LoopSubject(draw, unet, scheduler)
    reuse = TablePolicy(10, [*[(0,), ()] * 3, *[(0,)] * 4], targets="residual")
    batch = Batch(3, ("", ""))
    wanted = [subject.draw(Setting(30, in_full(30)), batch)]
    learnt = learn_table(subject, Setting(10, reuse), [batch], wanted, 400.0)
    assert [len(row) for row in learnt.policy.score_weights] == [1, 1, 2, 1, 3, 1, 4, 4, 4, 4]
    assert [learnt.policy.score_weights[step] for step in (1, 3, 5)] == [(1.0,)] * 3
