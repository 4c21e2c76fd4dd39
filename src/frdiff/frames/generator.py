"""A small style-based GAN generator, for walks through its latent space."""

import json
import math
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from frdiff.models.shipped import HERE

__all__ = ["StyleGenerator", "is_generator", "load_generator"]

SHIPPED = ("emoji-gan",)
SLOPE = 0.2
SIDE = 8


class StyleConvolution(nn.Module):
    """A 3x3 convolution whose input channels a style scales, and whose outputs keep unit variance.

    Karras et al. 2020, *Analyzing and Improving the Image Quality of StyleGAN*, section 2.2; the
    scales are laid on activations instead of weights, which is the same and needs no groups.
    """

    def __init__(self, channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.scale = nn.Linear(style_dim, channels)
        nn.init.ones_(self.scale.bias)
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = 1 / math.sqrt(9 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """The features (N, out, H, W) of `x` (N, C, H, W) under styles (N, D)."""
        scale = self.scale(style)
        weight = self.weight * self.gain
        power = scale.square() @ weight.square().sum(dim=(2, 3)).T
        demodulated = torch.rsqrt(power + 1e-8)[:, :, None, None]
        y = F.conv2d(x * scale[:, :, None, None], weight, padding=1)
        return y * demodulated + self.bias[:, None, None]


class StyleBlock(nn.Module):
    """A residual block of two style convolutions around a 1x1 shortcut."""

    def __init__(self, channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.conv1 = StyleConvolution(channels, out_channels, style_dim)
        self.conv2 = StyleConvolution(out_channels, out_channels, style_dim)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1)
        self.output_scale_factor = math.sqrt(2)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """The features (N, out, H, W) of `x` (N, C, H, W) under styles (N, D)."""
        y = self.conv1(F.leaky_relu(x, SLOPE), style)
        y = self.conv2(F.leaky_relu(y, SLOPE), style)
        return (self.conv_shortcut(x) + y) / self.output_scale_factor


class StyleGenerator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures from latents: a linear map to 8x8 features, then residual blocks under styles.

    Args:
        latent_dim: of the latents; only their direction counts.
        style_dim: of the styles.
        channels: of the blocks, from 8x8, each at twice the resolution of the last.
        num_anchors: latents that training tied to a picture each.

    Attributes:
        anchors: these latents (num_anchors, latent_dim), of unit length.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_dim: int = 64,
        style_dim: int = 128,
        channels: tuple[int, ...] = (128, 96, 48, 16),
        num_anchors: int = 0,
    ) -> None:
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(latent_dim, style_dim),
            nn.LeakyReLU(SLOPE),
            nn.Linear(style_dim, style_dim),
            nn.LeakyReLU(SLOPE),
            nn.Linear(style_dim, style_dim),
        )
        self.start = nn.Linear(latent_dim, channels[0] * SIDE**2)
        pairs = zip((channels[0], *channels), channels, strict=False)
        self.blocks = nn.ModuleList(StyleBlock(*pair, style_dim) for pair in pairs)
        self.conv_out = nn.Conv2d(channels[-1], 3, 3, padding=1)
        self.register_buffer("anchors", F.normalize(torch.randn(num_anchors, latent_dim), dim=1))

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, S, S), about in [-1, 1], of latents (N, latent_dim)."""
        unit = F.normalize(latents, dim=1) * math.sqrt(latents.shape[1])
        style = self.mapping(unit)
        x = self.start(unit).unflatten(1, (-1, SIDE, SIDE))
        for number, block in enumerate(self.blocks):
            if number:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = block(x, style)
        return self.conv_out(F.leaky_relu(x, SLOPE))


def load_generator(name: str | Path) -> tuple[StyleGenerator, list[str]]:
    """A trained generator, in float32, and the names of its anchors.

    Args:
        name: "emoji-gan", which ships with the package, or a folder in which
            `python -m training.train_emoji_gan` has written.

    Raises:
        ValueError: there is no generator with a name for each of its anchors.
    """
    folder = _folder(name)
    if not is_generator(name):
        raise ValueError(f"{name} is no folder of a {StyleGenerator.__name__}")
    generator = StyleGenerator.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    names = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    if not isinstance(names, list) or len(names) != len(generator.anchors):
        raise ValueError(f"{folder}/captions.json must name {len(generator.anchors)} anchors")
    return generator.float().eval(), [str(name) for name in names]


def is_generator(name: str | Path) -> bool:
    """Whether a shipped model or a folder is a generator."""
    path = _folder(name) / "config.json"
    if not path.is_file():
        return False
    config = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(config, dict) and config.get("_class_name") == StyleGenerator.__name__


def _folder(name: str | Path) -> Path:
    return HERE / name if name in SHIPPED else Path(name)
