"""Forecasts are exact for what they can express, and otherwise as the closed forms say."""

import numpy as np
import pytest

from frdiff.evaluation.opponents.chebyshev import DEGREE, forecast_weights

EVALUATED = [0, 1, 2, 3, 4, 6, 8, 11]


@pytest.mark.parametrize("degree", range(DEGREE + 1))
def test_polynomials_are_reproduced_without_a_ridge(degree):
    polynomial = np.polynomial.Polynomial(np.arange(1.0, degree + 2))
    weights = forecast_weights(EVALUATED, 13, 25, ridge=0.0, blend=1.0)
    values = polynomial(np.array(EVALUATED) / 25)
    assert weights @ values == pytest.approx(polynomial(13 / 25))


def test_a_ridge_shrinks_by_the_closed_form():
    # Of degree 0 the fit is sum(values) / (count + ridge).
    weights = forecast_weights([0, 1, 2], 3, 10, degree=0, ridge=0.5, blend=1.0)
    assert weights == pytest.approx([1 / 3.5] * 3)


def test_the_rest_is_the_line_through_the_last_two():
    weights = forecast_weights(EVALUATED, 12, 25, blend=0.0)
    assert weights == pytest.approx([0] * 6 + [-1 / 3, 4 / 3])
    half = forecast_weights(EVALUATED, 12, 25, blend=0.5)
    whole = forecast_weights(EVALUATED, 12, 25, blend=1.0)
    assert half == pytest.approx((weights + whole) / 2)
