"""A tiny model of every denoiser class of diffusers, with two or more of each kind of block."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import torch
from torch import nn

from frdiff.catalogue import example_call
from zoo import blocks, images, molecules, sequences, sound, streams, unets, video

__all__ = ["DENOISERS", "READS_CONTENTS", "make_denoiser", "tiny_call"]

# Where the models of the zoo run, such as cuda.
DEVICE = os.environ.get("FRDIFF_TEST_DEVICE", "cpu")

CONFIGS: dict[str, dict[str, Any]] = (
    unets.CONFIGS
    | images.CONFIGS
    | sequences.CONFIGS
    | video.CONFIGS
    | streams.CONFIGS
    | sound.CONFIGS
    | molecules.CONFIGS
    | blocks.CONFIGS
)

# Where 8 by 8 latents, 3 frames and 5 words are not what a class can take.
SIZES: dict[str, dict[str, Any]] = {
    "ChronoEditTransformer3DModel": {"frames": 2},
    "Kandinsky6SRTransformer3DModel": {"size": 16},
    "JoyImageEditTransformer3DModel": {"frames": 2},
    "UNet1DModel": {"size": 32},
}

PREPARED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "WanAnimate2Transformer3DModel": streams.with_block_mask,
}


def make_denoiser(name: str, seed: int = 0) -> nn.Module:
    """The tiny model of a class, in eval mode."""
    torch.manual_seed(seed)
    model = getattr(diffusers, name)(**CONFIGS[name]).eval()
    # Fresh gates and outputs are often zero, and some experts hold what memory held; with life in
    # all weights, what the blocks do is seen.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=(len(parameter) / parameter.numel()) ** 0.5)
            else:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return PREPARED.get(name, lambda same: same)(model.to(DEVICE))


def tiny_call(name: str, model: nn.Module, batch: int = 1, **size: Any) -> dict[str, Any]:
    """The arguments of a small call of `make_denoiser`'s model."""
    small = {"size": 8, "frames": 3, "words": 5, "batch": batch} | SIZES.get(name, {})
    return example_call(model, **(small | size))


DENOISERS: dict[str, Callable[[], nn.Module]] = {
    name: partial(make_denoiser, name) for name in CONFIGS
}

# What they compute depends on numbers in tensors, or they need a device: autocast, flex attention.
READS_CONTENTS = {
    "AnyFlowFARTransformer3DModel",
    "BriaFibo2Transformer2DModel",
    "Cosmos3OmniTransformer",
    "ErnieImageTransformer2DModel",
    "GlmImageTransformer2DModel",
    "HeliosTransformer3DModel",
    "HiDreamImageTransformer2DModel",
    "HunyuanImageTransformer2DModel",
    "HunyuanVideo15Transformer3DModel",
    "HunyuanVideoFramepackTransformer3DModel",
    "Ideogram4Transformer2DModel",
    "Kandinsky6SRTransformer3DModel",
    "Lumina2Transformer2DModel",
    "MochiTransformer3DModel",
    "NucleusMoEImageTransformer2DModel",
    "OmniGenTransformer2DModel",
    "QwenImage21Transformer2DModel",
    "SanaWMTransformer3DModel",
    "WanAnimate2Transformer3DModel",
}
