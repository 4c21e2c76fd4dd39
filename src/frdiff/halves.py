"""Halves: what classifier-free guidance computes in one call, with a condition and without.

A guided pipeline gives the denoiser every sample twice, and what its solver gets lies on the line
through both halves of the score: `one + scale * (other - one)`. So what is added to both halves is
added to what the solver gets, whatever the scale; and how the halves differ is a direction of its
own, in which a step may go farther or less far than the scale says.
"""

import torch
from torch import Tensor

__all__ = ["apart", "guided"]


def apart(score: Tensor, sample: Tensor | None) -> Tensor | None:
    """How the halves of a score differ, the first less the second: shape (N / 2, ...).

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
    return (first - second) * (one == other).all()


def guided(
    scores: tuple[Tensor, ...], weighed: tuple[Tensor, ...], sample: Tensor | None
) -> tuple[Tensor, ...]:
    """The scores with how the halves of `weighed` differ added to both of their halves.

    Args:
        scores: one per stream.
        weighed: as many: sums of scores, weighed with guidance weights.
        sample: that the denoiser was given.
    """
    found = []
    for score, part in zip(scores, weighed, strict=True):
        difference = apart(part, sample)
        both = None if difference is None else torch.cat([difference, difference])
        found.append(score if both is None else score + both.to(score))
    return tuple(found)
