"""Halves: what classifier-free guidance computes in one call, without a condition and with it.

A guided pipeline gives the denoiser every sample twice, and what its solver gets lies on the line
through both halves of the score: `one + scale * (other - one)`. So what is added to both halves is
added to what the solver gets; and where that is a share of how they differ, the scale is another.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["agrees", "apart", "guided", "half_of", "has_halves", "led", "rejoined"]

SAME = 0.02
"""What differs by less, relatively, is the same: 16 bits round by up to half of that."""


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


def half_of(arguments: Any, count: int, half: int) -> Any:
    """The arguments with one half of every tensor that has as many rows as the sample.

    Args:
        count: rows of the sample.
        half: 0 for the first, 1 for the second.
    """
    if isinstance(arguments, Tensor):
        if not arguments.dim() or len(arguments) != count:
            return arguments
        return arguments[: count // 2] if half == 0 else arguments[count // 2 :]
    if type(arguments) is dict:
        return {name: half_of(value, count, half) for name, value in arguments.items()}
    if type(arguments) in (tuple, list):
        return type(arguments)([half_of(value, count, half) for value in arguments])
    return arguments


def agrees(new: tuple[Tensor, ...], full: tuple[Tensor, ...], half: int) -> bool:
    """Whether scores of a half are that half of the full ones, up to what rounding does.

    It waits for the device.
    """
    wanted = [score.chunk(2)[half].float() for score in full]
    if [score.shape for score in new] != [score.shape for score in wanted]:
        return False
    missed = sum(float((a - b).square().sum()) for a, b in zip(new, wanted, strict=True))
    return missed <= SAME**2 * sum(float(score.square().sum()) for score in wanted)


def rejoined(new: Tensor, forecast: Tensor, half: int) -> Tensor:
    """Both halves of a score (N, ...), of which one is new: they differ as in the forecast."""
    halves = list(forecast.chunk(2))
    other = new + (halves[1 - half] - halves[half])
    return torch.cat([new, other] if half == 0 else [other, new])


def led(forecast: Tensor, new: Tensor, leading: Tensor) -> Tensor:
    """A call's score, from its forecast, and the leading call's new score and forecast."""
    return new + (forecast - leading)
