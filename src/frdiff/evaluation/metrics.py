"""What is measured of pictures: fidelity with its uncertainty, and likeness of distributions.

Distribution metrics take features (N, D), whatever network they come from.

References:
    Heusel et al. 2017, arXiv 1706.08500 (Fréchet distance); Bińkowski et al. 2018, arXiv 1801.01401
    (kernel distance); Kynkäänniemi et al. 2019, arXiv 1904.06991 (precision and recall).
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from frdiff.compare import psnr

__all__ = [
    "PSNR_CAP",
    "capped_psnr",
    "frechet_distance",
    "kernel_distance",
    "lpips",
    "median_interval",
    "precision_recall",
]

PSNR_CAP = 100.0
NEIGHBOURS = 3


def capped_psnr(reference: np.ndarray, images: np.ndarray) -> list[float]:
    """PSNR of each picture in dB, at most 100 (equal pictures): files hold no infinity."""
    return [min(value, PSNR_CAP) for value in psnr(reference, images)]


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The bootstrap confidence interval of the median (percentile method, seeded).

    Args:
        values: at least two.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 values, got {len(values)}")
    return _median_interval(tuple(values), confidence)


@lru_cache(maxsize=2048)  # a report asks for the same ones several times
def _median_interval(values: tuple[float, ...], confidence: float) -> tuple[float, float]:
    if min(values) == max(values):
        return min(values), max(values)
    interval = bootstrap(
        (np.asarray(values),),
        np.median,
        confidence_level=confidence,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def lpips(reference: np.ndarray, images: np.ndarray) -> list[float] | None:
    """LPIPS (Zhang et al. 2018) of each picture, AlexNet; None where it is not installed.

    Its weights are a download, so it is an extra: `pip install torchvision lpips`.
    """
    if importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("lpips") is None:
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    pairs = zip(_colour(reference), _colour(images), strict=True)
    return [metric(image, truth).item() for truth, image in pairs]


def _colour(images: np.ndarray) -> list[torch.Tensor]:
    """Pictures (1, 3, H, W), grey ones with three equal channels."""
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    return list(torch.split(tensors.expand(-1, 3, -1, -1), 1))


class _AsTheyAre(nn.Module):
    """The feature extractor for what is features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def frechet_distance(real: np.ndarray, drawn: np.ndarray) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features (N, D); 0 for equal ones."""
    metric = FrechetInceptionDistance(feature=_AsTheyAre(real.shape[1])).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(drawn).double(), real=False)
    return metric.compute().item()


def kernel_distance(real: np.ndarray, drawn: np.ndarray) -> float:
    """Squared kernel distance (cubic kernel) of two sets of features (N, D); 0 for equal ones.

    All pairs count, each feature with itself too. The unbiased estimate, which leaves those out,
    is for independent samples, and far below 0 here: the training pictures are all there are, often
    one per class, and prompts are drawn evenly.
    """

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        pair = one.astype(np.float64), other.astype(np.float64)
        return float(polynomial_kernel(*pair, degree=3, coef0=1).mean())

    return max(mean(real, real) + mean(drawn, drawn) - 2 * mean(real, drawn), 0.0)


def precision_recall(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """The fraction of drawn features within the real set, and of real ones within the drawn set.

    A feature lies within a set if it is at least as near to one of its members as that member's
    third neighbour is.
    """
    return _covered(drawn, real), _covered(real, drawn)


def _covered(points: np.ndarray, by: np.ndarray) -> float:
    # A point is its own nearest neighbour, hence one more.
    own, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(by).kneighbors(by)
    radii = own[:, -1]
    return float(np.mean((cdist(points, by) <= radii).any(axis=1)))
