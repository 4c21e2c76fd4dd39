"""What a policy keeps, whatever a pipeline is used with.

`draw` is one call of the pipeline, from the same noise, and returns its samples as a tensor.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

import frdiff
from frdiff.sampling import as_array

STEPS = 12
ALL = frdiff.UniformPolicy(1, mixing=False, targets="all")
REUSE = frdiff.UniformPolicy(2, mixing=False, forecast=1, targets="all")
JUMPS = frdiff.JumpPolicy(2)

Draw = Callable[[], Tensor]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tensor(result):
    """The samples in what a pipeline returns."""
    return torch.from_numpy(as_array(result))


def distance(samples, truth):
    """The error of samples, as a share of what they depart from their mean."""
    return ((samples - truth).norm() / (truth - truth.mean()).norm()).item()


def keeps_contract(target, draw: Draw, *, steps=STEPS, alike=0.25, exact=True):
    """All keyframes change nothing; reuse and jumps happen, alike in every call; all of it ends.

    Args:
        steps: that the scheduler takes.
        alike: most that reuse and jumps may be away from the plain samples, see `distance`.
        exact: whether two plain calls are equal to the bit.
    """
    plain = draw()
    assert plain.isfinite().all()

    def same(samples):
        return torch.equal(samples, plain) if exact else distance(samples, plain) < 1e-4

    with frdiff.apply(target, ALL) as run:
        assert same(draw())
        assert (run.stats.keyframes, run.stats.steps) == (steps, steps)
    for policy in (REUSE, JUMPS):
        with frdiff.apply(target, policy) as run:
            first, stats = draw(), run.stats
            second = draw()
            assert torch.equal(second, first) or (not exact and distance(second, first) < 1e-4)
            assert replace(run.stats, seconds=0) == replace(stats, seconds=0)
        saved = stats.jumps if policy is JUMPS else stats.reuse_steps
        assert stats.steps == steps == stats.keyframes + saved
        assert saved == steps - len(policy.plan(steps).keyframes) > 0
        assert stats.macs_ratio < 1 and stats.bank_bytes == 0
        assert first.isfinite().all()
        assert 0 < distance(first, plain) < alike
    assert same(draw())


def follows_changes(target, draw: Draw, *changes: Callable[[], object], exact=True):
    """A policy that stays on draws after every change what it draws when it is applied after it.

    Args:
        changes: made one after another, each with an effect; the last undoes all of them.
        exact: whether it does so to the bit.
    """

    def same(one, other):
        return torch.equal(one, other) if exact else distance(one, other) < 1e-4

    def states():
        yield None
        for change in changes:
            change()
            yield None

    plain = [draw() for _ in states()]
    for one, other in pairwise(plain):
        assert distance(one, other) > (1e-5 if exact else 1e-3)
    assert same(plain[0], plain[-1])
    for policy in (ALL, REUSE, JUMPS):
        anew = []
        for _ in states() if policy is not ALL else ():
            with frdiff.apply(target, policy):
                anew.append(draw())
        with frdiff.apply(target, policy):
            kept = [draw() for _ in states()]
        for staying, fresh in zip(kept, anew or plain, strict=True):
            assert same(staying, fresh)
