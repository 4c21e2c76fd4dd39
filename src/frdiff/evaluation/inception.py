"""Inception features, as most published Fréchet distances take them.

An extra: the network comes with torch-fidelity, whose weights are a download of 91 MB.
"""

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Inception", "load_inception"]


@dataclass(frozen=True)
class Inception:
    """A network for features that others use too.

    Attributes:
        name: of network and package, with the version, for the report.
        network: pictures (B, 3, H, W) uint8 to features (B, D).
    """

    name: str
    network: nn.Module

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Features (N, D) of pictures (N, H, W, C) in [0, 1]."""
        pixels: Tensor = torch.from_numpy((images * 255).round().astype(np.uint8))
        pictures = pixels.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        return torch.cat([self.network(batch) for batch in pictures.split(32)]).float().numpy()


def load_inception() -> Inception:
    """The Inception v3 of torch-fidelity, as FID is defined.

    Raises:
        ValueError: torch-fidelity is not installed.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ValueError(
            "Inception features need torch-fidelity, which needs torchvision and downloads weights "
            "when first used: pip install 'frdiff[online]'"
        )
    from torchmetrics.image.fid import NoTrainInceptionV3

    network = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    return Inception(f"Inception v3, torch-fidelity {version('torch-fidelity')}", network.eval())
