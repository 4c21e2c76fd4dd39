"""Halves: what classifier-free guidance computes in one call, without a condition and with it.

A guided pipeline gives the denoiser every sample twice, and what its solver gets lies on the line
through both halves of the score: `one + scale * (other - one)`. So what is added to both halves is
added to what the solver gets; and where that is a share of how they differ, the scale is another.
"""

import torch
from torch import Tensor

__all__ = ["apart", "guided", "has_halves"]


def apart(score: Tensor, sample: Tensor | None) -> Tensor | None:
    """How the halves of a score differ, the second less the first: shape (N / 2, ...).

    Zero where the halves of the sample are not the same, so that no value leaves the device. None
    where there are no halves.

    Args:
        score: shape (N, ...).
        sample: that the denoiser was given, shape (N, ...); None if it is not known.
    """
    count = len(score) if score.dim() else 0
    if sample is None or count < 2 or count % 2 or not sample.dim() or len(sample) != count:
        return None
    one, other = sample.chunk(2)
    first, second = score.chunk(2)
    return (second - first) * (one == other).all()


def has_halves(sample: Tensor | None) -> bool:
    """Whether both halves of what a denoiser was given are the same. Waits for the device."""
    if sample is None or not sample.dim() or len(sample) % 2:
        return False
    one, other = sample.chunk(2)
    return torch.equal(one, other)


def guided(
    scores: tuple[Tensor, ...],
    computed: tuple[Tensor, ...],
    sample: Tensor | None,
    weight: Tensor | float,
) -> tuple[Tensor, ...]:
    """The scores with so much of how the halves of the computed ones differ in both halves.

    Args:
        scores: one per stream.
        computed: as many, as the denoiser returned them.
        sample: that it was given.
        weight: by which the guidance scale grows where the second half has the condition, as in
            most pipelines, and shrinks where the first has.
    """
    found = []
    for score, own in zip(scores, computed, strict=True):
        difference = apart(own, sample)
        if difference is not None:
            added = (difference * weight).to(score)
            score = score + torch.cat([added, added])
        found.append(score)
    return tuple(found)
