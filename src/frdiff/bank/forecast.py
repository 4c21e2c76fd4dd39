"""Forecasts: a feature at a step extrapolated from the features of the last keyframes.

`f(x) = sum_j w_j f(x_j)`, where `x` is a coordinate along the run (step index or noise level) and
`w_j` are Lagrange's weights: they reproduce every polynomial of degree `len(x_j) - 1` and sum to 1.
One keyframe copies, two extrapolate linearly, three quadratically. Whether to trust that tells the
newest keyframe: those before it would have foretold it, or not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["combine", "extrapolation_weights", "trust"]


def extrapolation_weights(nodes: Sequence[float], at: float) -> list[float]:
    """Lagrange weights of `nodes` for the value at `at`; they sum to 1.

    Args:
        nodes: coordinates of the stored keyframes, all different.
        at: coordinate to extrapolate to. Equal to a node, that node's weight is 1.
    """
    weights = []
    for j, node in enumerate(nodes):
        weight = 1.0
        for k, other in enumerate(nodes):
            if k != j:
                weight *= (at - other) / (node - other)
        weights.append(weight)
    return weights


def combine(features: tuple[Tensor, ...], weights: Tensor, gain: Tensor | None = None) -> Tensor:
    """The weighted sum of `features`, newest first.

    Args:
        features: one or more tensors of the same shape.
        weights: shape (len(features),), a tensor and not floats, so that a compiled graph stays
            valid when the weights change from step to step.
        gain: what the weights sum to; None for 1.
    """
    if gain is None and len(features) == 1:
        return features[0]
    if gain is None and len(features) == 2:
        return torch.lerp(features[1], features[0], weights[0])
    # As differences from the newest, so that rounded weights still sum to what they should.
    total = features[0] if gain is None else features[0] * gain
    for feature, weight in zip(features[1:], weights[1:], strict=True):
        total = torch.addcmul(total, feature - features[0], weight)
    return total


def trust(newest: Tensor, last: Tensor, foretold: Tensor) -> Tensor:
    """How far to go along with an extrapolation, from 0 to 1: what it explains of the last change.

    `1 - |newest - foretold|^2 / |newest - last|^2`, of every row by itself: 1 where the newest
    keyframe was foretold exactly, 0 where taking the one before it would have been as close.

    Args:
        newest: of the last keyframe.
        last: of the one before it.
        foretold: what the keyframes before the newest extrapolate to at its place.

    Returns:
        Shape (N, 1, ...), or (1,) of a vector: no value leaves the device.
    """
    rows = tuple(range(1, newest.ndim))
    missed, changed = (
        (newest.float() - other.float()).square().sum(rows, keepdim=True)
        for other in (foretold, last)
    )
    explained = 1 - missed / changed.clamp(min=torch.finfo(changed.dtype).tiny)
    return explained.clamp(0, 1).to(newest)
