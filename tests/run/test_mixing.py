import pytest

from frdiff.run.mixing import mixing_weight


def test_half_at_the_bias():
    assert mixing_weight(25, 50, bias=0.5) == 0.5
    assert mixing_weight(15, 50, bias=0.3) == pytest.approx(0.5)


def test_slope_is_a_quarter_of_tau():
    assert mixing_weight(26, 50) - mixing_weight(25, 50) == pytest.approx(30 / 4 / 50)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (21, 0.0), (29, 1.0), (49, 1.0)])
def test_clipped_to_unit_interval(step, weight):
    assert mixing_weight(step, 50) == weight


def test_grows_with_the_step():
    weights = [mixing_weight(i, 50) for i in range(50)]
    assert weights == sorted(weights)
