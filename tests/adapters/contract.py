"""What every adapter must give: real targets that are computed on keyframes and skipped between."""

from collections import Counter

import pytest
import torch

import frdiff
from conftest import ddim
from frdiff.adapters import find_targets


@torch.no_grad()
def latents(model, inputs, scheduler, steps=12):
    x = torch.randn(1, *inputs["shape"], generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        score = model(x, t.expand(1), **inputs["kwargs"]).sample[:, : x.shape[1]]
        x = scheduler.step(score, t, x).prev_sample
    return x


def count(target, calls):
    """Count how often the module that gives the feature is really computed."""
    compute = target.source.forward

    def forward(*args, **kwargs):
        calls[target.name] += 1
        return compute(*args, **kwargs)

    target.source.forward = forward


def check(make, inputs, targets):
    """Assert the contract for a model built by `make`, with one of its target sets."""
    plain = latents(make(), inputs, ddim())

    model, scheduler = make(), ddim()
    every = frdiff.KeyframePolicy(12, range(12), targets=targets)
    with pytest.warns(UserWarning), frdiff.apply(model, every, scheduler=scheduler):
        assert torch.equal(latents(model, inputs, scheduler), plain)

    calls = Counter()
    for target in find_targets(model, targets):
        count(target, calls)
    policy = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets=targets)
    with frdiff.apply(model, policy, scheduler=scheduler) as run:
        reused = latents(model, inputs, scheduler)
        assert torch.equal(latents(model, inputs, scheduler), reused)
        assert {calls[name] for name in run.targets} == {2 * 4}
        assert run.stats.macs_ratio < 0.95
    assert not torch.equal(reused, plain)
    assert (reused - plain).norm() / plain.norm() < 0.2
    assert torch.equal(latents(model, inputs, scheduler), plain)
