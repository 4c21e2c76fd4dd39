"""Spectrum's forecast: polynomials through all that was found so far, and a straight line.

The forecast is in part a fit of Chebyshev polynomials to all evaluations, with a ridge, and for the
rest the line through the last two. See `frdiff.evaluation.opponents.spectrum` for the reference.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["BLEND", "DEGREE", "forecast_weights"]

DEGREE, RIDGE = 4, 0.1
BLEND = 0.5


def forecast_weights(
    evaluated: Sequence[int],
    step: int,
    steps: int,
    *,
    degree: int = DEGREE,
    ridge: float = RIDGE,
    blend: float = BLEND,
) -> np.ndarray:
    """How much of what was found at each evaluated step is in the forecast, shape (evaluations,).

    Args:
        evaluated: at least two steps, rising.
        step: to forecast, of `steps`.
        blend: share of the Chebyshev fit; the rest is Newton's interpolation.
    """

    def basis(places: Sequence[int]) -> np.ndarray:
        scaled = 2 * np.asarray(places, dtype=float) / steps - 1
        return np.polynomial.chebyshev.chebvander(scaled, degree)

    design = basis(evaluated)
    normal = design.T @ design + ridge * np.eye(degree + 1)
    weights = blend * (basis([step]) @ np.linalg.pinv(normal) @ design.T)[0]
    before, last = evaluated[-2:]
    ahead = (step - last) / (last - before)
    weights[-2:] += (1 - blend) * np.array([-ahead, 1 + ahead])
    return weights
