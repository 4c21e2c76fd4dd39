import pytest
import torch

from frdiff.bank.forecast import combine, extrapolation_weights


@pytest.mark.parametrize(
    ("nodes", "at", "expected"),
    [([4.0], 6.0, [1.0]), ([4.0, 2.0], 5.0, [1.5, -0.5]), ([2.0, 1.0, 0.0], 3.0, [3, -3, 1])],
    ids=["copy", "linear", "quadratic"],
)
def test_weights_known_by_hand(nodes, at, expected):
    assert extrapolation_weights(nodes, at) == pytest.approx(expected)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_exact_on_polynomials_of_its_order(order):
    nodes = [2.9, 1.7, 0.4][: order + 1]
    weights = extrapolation_weights(nodes, 4.2)
    forecast = sum(w * (3 - 2 * x**order) for w, x in zip(weights, nodes, strict=True))
    assert forecast == pytest.approx(3 - 2 * 4.2**order)
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_combine_is_the_weighted_sum(count, dtype):
    features = tuple(torch.randn(2, 3, 4, dtype=dtype) for _ in range(count))
    weights = torch.tensor(extrapolation_weights([3.0, 2.0, 0.5][:count], 4.0), dtype=dtype)
    expected = sum(w * f for w, f in zip(weights, features, strict=True))
    torch.testing.assert_close(combine(features, weights), expected)


def test_combine_copies_one_feature_untouched():
    feature = torch.randn(3)
    assert combine((feature,), torch.ones(1)) is feature
