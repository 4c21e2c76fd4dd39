"""The network through which distribution metrics look at the pictures of the shipped models.

Inception features mean little on 64x64 emoji, and their weights are a download. Each shipped model
therefore brings a small classifier trained on its own pictures; its penultimate layer is the
feature space, and its classes say whether a picture shows what was asked for.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from frdiff.models import shipped_folder

__all__ = ["Embedder", "EmbedderConfig", "ShippedEmbedder", "load_embedder"]

FEATURES = 64


@dataclass(frozen=True)
class EmbedderConfig:
    """The shape of the network.

    Attributes:
        channels: of the pictures.
        widths: output channels of each convolution; each halves the resolution.
        classes: names, in the order of the network's outputs.
    """

    channels: int
    widths: tuple[int, ...]
    classes: tuple[str, ...]

    def to_json(self) -> str:
        """The configuration as JSON text."""
        return json.dumps(asdict(self)) + "\n"


class Embedder(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] to features (B, 64) by strided convolutions."""

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before = config.channels
        for width in config.widths:
            convolution = nn.Conv2d(before, width, 3, stride=2, padding=1)
            layers += [convolution, nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Linear(before, FEATURES)
        self.classify = nn.Linear(FEATURES, len(config.classes))

    def forward(self, pictures: Tensor) -> Tensor:
        """Features (B, 64)."""
        return self.project(self.convolutions(pictures).mean(dim=(2, 3)))

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (B, len(classes)) of features."""
        return self.classify(nn.functional.silu(features))


@dataclass(frozen=True)
class ShippedEmbedder:
    """An embedder and the features of the pictures that its model was trained on.

    Attributes:
        network: in evaluation mode.
        training_features: (N, 64).
    """

    network: Embedder
    training_features: np.ndarray

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Features (N, 64) of pictures (N, H, W, C) in [0, 1]."""
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() * 2 - 1
        return torch.cat([self.network(batch) for batch in pictures.split(64)]).numpy()

    @torch.no_grad()
    def accuracy(self, features: np.ndarray, captions: list[str]) -> float:
        """The fraction of features whose class is the caption that was asked for."""
        found = self.network.logits(torch.from_numpy(features)).argmax(dim=1).tolist()
        names = [self.network.config.classes[index] for index in found]
        return float(np.mean([name == asked for name, asked in zip(names, captions, strict=True)]))


def load_embedder(name: str) -> ShippedEmbedder:
    """The embedder of the shipped model `name`.

    Raises:
        ValueError: no such model.
    """
    folder = shipped_folder(name)
    content = json.loads((folder / "embedder.json").read_text(encoding="utf-8"))
    config = EmbedderConfig(
        content["channels"], tuple(content["widths"]), tuple(content["classes"])
    )
    tensors = {
        key: value.float() for key, value in load_file(folder / "embedder.safetensors").items()
    }
    training = tensors.pop("training_features").numpy()
    network = Embedder(config)
    network.load_state_dict(tensors)
    return ShippedEmbedder(network.eval(), training)
