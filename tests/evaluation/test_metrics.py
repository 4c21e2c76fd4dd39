import numpy as np
import pytest

from frdiff.evaluation.embedder import load_embedder
from frdiff.evaluation.metrics import (
    capped_psnr,
    frechet_distance,
    kernel_distance,
    median_interval,
    precision_recall,
)


def features(count=1500, shift=0.0, scale=1.0, seed=0, width=4):
    return shift + scale * np.random.default_rng(seed).standard_normal((count, width))


def test_equal_sets_are_at_distance_zero():
    x = features()
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-5)
    assert kernel_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert precision_recall(x[:200], x[:200]) == (1.0, 1.0)


def test_sets_of_one_distribution_have_about_no_kernel_distance():
    near = kernel_distance(features(seed=1), features(seed=2))
    assert abs(near) < 0.02
    assert kernel_distance(features(seed=1), features(shift=1.0, seed=2)) > 10 * abs(near)


def test_the_kernel_distance_of_two_points_by_hand():
    # Kernel (x y / D + 1)^3 with D = 1: 8 at (1, 1), 27 at (2, 1), 125 at (2, 2).
    assert kernel_distance(np.array([[1.0]]), np.array([[2.0]])) == pytest.approx(8 + 125 - 2 * 27)


def test_a_copy_of_every_training_picture_for_every_prompt_is_at_distance_zero():
    # One picture per class, drawn eight times each: the unbiased estimate is far below 0 here.
    training = 10 * np.eye(20)
    assert kernel_distance(training, np.repeat(training, 8, axis=0)) == pytest.approx(0, abs=1e-9)


def test_distances_are_symmetric():
    x, y = features(), features(shift=0.5, seed=1)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-6)
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(y, x), rel=1e-9)
    assert precision_recall(x[:200], y[:200]) == precision_recall(y[:200], x[:200])[::-1]


def test_frechet_distance_of_shifted_and_scaled_gaussians():
    # |mu|^2 + D (1 - scale)^2 for isotropic Gaussians; shifting the very same points is exact.
    x = features(20_000)
    assert frechet_distance(x, x + 0.5) == pytest.approx(4 * 0.25, rel=1e-6)
    assert frechet_distance(x, 2 * x) == pytest.approx(4.0, rel=0.05)


def test_distances_grow_with_the_shift():
    x = features()
    distances = [frechet_distance(x, features(shift=s, seed=1)) for s in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)


def test_the_order_of_samples_does_not_matter():
    x, y = features(), features(shift=0.3, seed=1)
    assert frechet_distance(x[::-1].copy(), y) == pytest.approx(frechet_distance(x, y), rel=1e-6)


def test_the_size_of_batches_does_not_matter():
    images = np.random.default_rng(0).random((70, 16, 16, 1), dtype=np.float32)
    embedder = load_embedder("digits")
    one_by_one = np.concatenate([embedder.features(image[None]) for image in images])
    together = embedder.features(images)
    assert np.allclose(one_by_one, together, atol=1e-4)
    other = features(70, width=together.shape[1])
    assert frechet_distance(other, one_by_one) == pytest.approx(
        frechet_distance(other, together), rel=1e-3
    )


def test_precision_and_recall_tell_missing_quality_from_missing_variety():
    real = features(400)
    precision, recall = precision_recall(real, 0.2 * features(400, seed=1))
    assert precision > 0.95 and recall < 0.5
    precision, recall = precision_recall(real, features(400, shift=20.0, seed=1))
    assert (precision, recall) == (0.0, 0.0)


def test_median_interval():
    assert median_interval([3.0] * 10) == (3.0, 3.0)
    low, high = median_interval([float(i) for i in range(101)])
    assert 35 < low < 50 < high < 65
    assert (low, high) == median_interval([float(i) for i in range(101)])
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        median_interval([1.0])


def test_equal_pictures_have_100_db():
    black = np.zeros((2, 16, 16, 3), np.float32)
    assert capped_psnr(black, black) == [100.0, 100.0]
