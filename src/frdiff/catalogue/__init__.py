"""Example calls of every denoiser class of diffusers, at any size of configuration."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from frdiff.catalogue import blocks, images, molecules, sequences, sound, streams, unets, video
from frdiff.catalogue.blocks import NOT_DENOISERS
from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import CALLS, CallSize, entry

__all__ = [
    "CALLS",
    "NOT_DENOISERS",
    "CallSize",
    "blocks",
    "example_call",
    "images",
    "molecules",
    "sequences",
    "sound",
    "streams",
    "unets",
    "video",
]


def example_call(
    denoiser: nn.Module, device: torch.device | str | None = None, **size: Any
) -> dict[str, Any]:
    """The arguments of one call of a denoiser, by name, the noisy sample first.

    They are made from the denoiser's configuration, on its device and in its type: the same ones
    each time, or shapes without contents on the meta device.

    Args:
        denoiser: a model of diffusers, at any size.
        device: where its tensors are; by default the denoiser's.
        size: fields of `CallSize` that differ from where the family is used; larger ones cost
            more.

    Raises:
        ValueError: no example for this class.
    """
    builder, default = entry(type(denoiser))
    chosen = replace(default, **size)
    config: Any = denoiser.config
    extent = config.sample_size if chosen.size is None else chosen.size
    height, width = (extent, extent) if isinstance(extent, int) else extent
    weight = next(denoiser.parameters())
    draw = Draw(
        chosen.batch,
        height,
        width,
        chosen.frames,
        chosen.words,
        torch.device(device or weight.device),
        weight.dtype,
    )
    return builder(config, draw)
