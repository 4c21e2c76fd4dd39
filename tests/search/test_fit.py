import numpy as np
import pytest

from frdiff.bank.forecast import extrapolation_weights
from frdiff.search.weights.fit import fit_weights, forecast_error


def gram(*vectors):
    stacked = np.stack(vectors)
    return stacked @ stacked.T


def vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 40))


def test_recovers_weights_that_sum_to_one():
    a, b, c = vectors(3)
    products = gram(1.7 * a - 0.9 * b + 0.2 * c, a, b, c)
    weights = fit_weights(products, [1.0, 0.0, 0.0], ridge=1e-9)
    assert weights == pytest.approx([1.7, -0.9, 0.2], abs=1e-6)
    assert forecast_error(products, weights) == pytest.approx(0.0, abs=1e-6)


def test_weights_sum_to_one_whatever_the_data():
    for seed in range(5):
        products = gram(*vectors(4, seed))
        assert sum(fit_weights(products, [2.0, -1.0, 0.0])) == pytest.approx(1.0)


def test_does_not_shrink():
    # Least squares without the constraint would take about half of a noisy copy.
    wanted, noise = vectors(2)
    (alone,) = fit_weights(gram(wanted, wanted + noise), [1.0])
    assert alone == 1.0


def test_no_worse_than_extrapolation_on_what_it_was_fitted_to():
    for seed in range(5):
        products = gram(*vectors(4, seed))
        prior = extrapolation_weights([5.0, 3.0, 0.0], 6.0)
        fitted = fit_weights(products, prior, ridge=1e-6)
        assert forecast_error(products, fitted) <= forecast_error(products, prior)


def test_stays_with_the_prior_where_the_data_say_nothing():
    same = vectors(1)[0]
    products = gram(same, same, same, same)
    assert fit_weights(products, [2.0, -1.5, 0.5]) == [2.0, -1.5, 0.5]
    products = gram(*vectors(4))
    assert fit_weights(products, [2.0, -1.5, 0.5], ridge=1e9) == pytest.approx([2.0, -1.5, 0.5])
