"""Steering: samples of jumps end nearer to those of the full run, by weights alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import ddim, loop, make_dit_pipe, make_unet
from frdiff.policy import TablePolicy
from frdiff.sampling import set_scheduler
from frdiff.search.schedules.space import in_full
from frdiff.search.subject import Batch, LoopSubject, PipelineSubject
from frdiff.search.weights.fit import fit_robust
from frdiff.search.weights.record import record
from frdiff.search.weights.steer import steered_weights
from frdiff.setting import Setting

STEPS, KEYFRAMES = 12, (0, 2, 5, 9, 11)
BATCH = Batch(0, ("1", "2", "3"))


def jumping(rows=None, targets="all"):
    """Jumps that copy, or the given weights."""
    return TablePolicy(
        STEPS,
        [(0,) if step in KEYFRAMES else () for step in range(STEPS)],
        mixing_weights=[float(step in KEYFRAMES) for step in range(STEPS)],
        score_weights=rows or [[1.0]] * STEPS,
        targets=targets,
    )


def steered(subject, solver=None):
    setting = Setting(STEPS, jumping(), solver)
    recording = record(subject, Setting(STEPS, None, solver), BATCH, "all", overhead=0.0)
    return steered_weights(subject, setting, recording, BATCH)


@pytest.mark.parametrize("solver", [None, "unipckarras"])
def test_samples_end_nearer_to_those_of_the_full_run(solver):
    subject = PipelineSubject(make_dit_pipe())
    rows = steered(subject, solver)
    assert [sum(row) for row in rows] == pytest.approx([1] * STEPS)
    # A keyframe weighs its own score and up to three earlier ones, a jump as many as before.
    assert [len(rows[step]) for step in KEYFRAMES] == [1, 2, 3, 4, 4]
    assert all(len(row) == 1 for step, row in enumerate(rows) if step not in KEYFRAMES)
    full, plain, found = (
        subject.draw(Setting(STEPS, policy, solver), BATCH)
        for policy in (in_full(STEPS), jumping(), jumping(rows))
    )
    assert np.square(found - full).sum() < np.square(plain - full).sum() / 2


class Curve(nn.Module):
    """Scores that are a quadratic of the timestep, whatever the sample."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 24)

    def forward(self, x, t):
        constant, linear, quadratic = self.inner(torch.ones_like(x)).chunk(3, dim=-1)
        return constant + t / 1000 * linear + (t / 1000) ** 2 * quadratic


def test_what_jumps_miss_is_made_up_for_where_scores_can_tell_it():
    net, scheduler = Curve(), ddim()

    @torch.no_grad()
    def drawn(generator):
        scheduler.set_timesteps(STEPS)
        x = torch.randn(2, 8, generator=generator)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t), t, x).prev_sample
        return x

    subject = LoopSubject(drawn, net, scheduler)
    recording = record(subject, Setting(STEPS), BATCH, ["inner"], overhead=0.0)
    plain = jumping(targets=["inner"])
    rows = steered_weights(subject, Setting(STEPS, plain), recording, BATCH)
    full, plain, found = (
        subject.draw(Setting(STEPS, policy), BATCH)
        for policy in (in_full(STEPS), plain, replace(plain, score_weights=rows))
    )
    assert np.linalg.norm(found - full) < np.linalg.norm(plain - full) / 20


def test_nothing_is_left_behind():
    pipe = make_dit_pipe()
    scheduler = set_scheduler(pipe, "unipc")
    before = vars(scheduler).keys()
    steered(PipelineSubject(pipe), "dpm++karras")
    steered(PipelineSubject(pipe))
    assert pipe.scheduler is scheduler
    assert vars(scheduler).keys() == before
    assert "step" not in vars(scheduler)


def test_without_influences_it_says_so():
    net, scheduler = make_unet(), ddim()
    subject = LoopSubject(lambda generator: loop(net, scheduler, STEPS), net, scheduler)
    recording = record(subject, Setting(STEPS), BATCH, "all", overhead=0.0)
    recording = replace(recording, influence=None)
    with pytest.raises(ValueError, match="influence"):
        steered_weights(subject, Setting(STEPS, jumping()), recording, BATCH)


def test_one_sample_far_off_does_not_sway_a_robust_fit():
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(5, 2, 40))
    wanted = np.einsum("n,sne->se", [1.7, -0.7], stored) + 0.01 * rng.normal(size=(5, 40))
    stored[4] *= 1000
    wanted[4] = -stored[4, 0]
    stack = np.concatenate([wanted[:, None], stored], axis=1)
    grams = np.einsum("sae,sbe->sab", stack, stack)
    weights = fit_robust(grams, [1.0, 0.0], ridge=1e-6)
    assert sum(weights) == pytest.approx(1)
    assert weights == pytest.approx([1.7, -0.7], abs=0.05)
