"""Weights fitted in closed form, from inner products alone.

A feature is forecast as `sum_j a_j f_j` over the last stored ones, with weights that sum to 1: they
then reproduce what does not change, whatever the data. Without that constraint least squares
shrinks features towards zero and does harm. The inner products are summed up while sampling, so
the fit needs no memory for features and no gradient. Mixing weights of scores are fitted alike.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["RIDGE", "fit_robust", "fit_weights", "forecast_error"]

RIDGE = 1e-3
ROUNDS = 4
EXACT = 1e-12  # errors below this share of the squares are none


def fit_weights(gram: np.ndarray, prior: Sequence[float], ridge: float = RIDGE) -> list[float]:
    """The weights of `m` stored features that come closest to the wanted one; they sum to 1.

    Args:
        gram: (m + 1, m + 1) inner products of the wanted feature and the stored ones, in this
            order, newest first.
        prior: m weights to stay near where the data say little, such as those of extrapolation.
        ridge: how strongly, as a share of the mean square of what the stored features differ by.
            Larger: nearer to the prior.
    """
    count = len(gram) - 1
    # Everything as a difference from the newest, so that the sum needs no constraint.
    differences = gram[2:, 2:] - gram[1, 2:][None] - gram[2:, 1][:, None] + gram[1, 1]
    wanted = gram[2:, 0] - gram[2:, 1] - gram[1, 0] + gram[1, 1]
    scale = np.trace(differences) / max(count - 1, 1)
    if count == 1 or scale <= 0:
        return list(prior)
    pull = ridge * scale * np.eye(count - 1)
    rest = np.linalg.solve(differences + pull, wanted + pull @ np.asarray(prior[1:]))
    return [float(1 - rest.sum()), *map(float, rest)]


def fit_robust(grams: np.ndarray, prior: Sequence[float], ridge: float = RIDGE) -> list[float]:
    """The weights that bring the median sample closest, and not the one that is farthest off.

    They lower the mean over samples of the logarithm of the squared error, as decibels count it, by
    least squares weighed again with the errors of the last round.

    Args:
        grams: (samples, m + 1, m + 1), see `fit_weights`; likewise the others.
    """
    weights = list(prior)
    for _ in range(ROUNDS):
        signed = np.array([1.0, *(-weight for weight in weights)])
        errors = np.einsum("a,sab,b->s", signed, grams, signed)
        least = np.finfo(float).tiny + EXACT * np.einsum("saa->s", grams)
        weights = fit_weights(
            (grams / np.maximum(errors, least)[:, None, None]).sum(0), prior, ridge
        )
    return weights


def forecast_error(gram: np.ndarray, weights: Sequence[float]) -> float:
    """The squared distance of the wanted feature from the weighted sum of the stored ones."""
    signed = np.array([1.0, *(-weight for weight in weights)])
    return float(max(signed @ gram @ signed, 0.0))
