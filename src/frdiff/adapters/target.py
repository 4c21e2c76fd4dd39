"""Targets: a module skipped on reuse steps, and how its output is put together again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

__all__ = ["Target", "branch", "output", "residual", "whole_residual"]


@dataclass(frozen=True)
class Target:
    """One place where a feature is stored on keyframes and stands in on reuse steps.

    Attributes:
        name: dotted module name within the denoiser.
        module: skipped on reuse steps.
        source: the module whose forward gives the feature; `module` itself or one inside it.
        extract: the feature, from the input and the output of `source`.
        rejoin: what `module` returns on a reuse step, from its input and the feature.
    """

    name: str
    module: nn.Module
    source: nn.Module
    extract: Callable[[Any, Any], Tensor]
    rejoin: Callable[[Tensor, Tensor], Any]


def output(name: str, module: nn.Module) -> Target:
    """A target whose feature is the output of `module`, a single tensor."""
    return Target(name, module, module, lambda x, y: y, lambda x, feature: feature)


def residual(name: str, module: nn.Module, returns_tuple: bool = False) -> Target:
    """A target whose feature is output minus input; on reuse the input stays fresh.

    Args:
        returns_tuple: whether callers take the output as the first element of a tuple.
    """
    if returns_tuple:
        return Target(name, module, module, lambda x, y: y[0] - x, lambda x, f: (x + f,))
    return Target(name, module, module, lambda x, y: y - x, lambda x, f: x + f)


def branch(name: str, block: ResnetBlock2D) -> Target:
    """A target whose feature is the residual branch of a ResNet block, up to its `conv2`."""

    def rejoin(x: Tensor, feature: Tensor) -> Tensor:
        for resample in (block.upsample, block.downsample):
            if resample is not None:
                x = resample(x)
        if block.conv_shortcut is not None:
            x = block.conv_shortcut(x)
        return (x + feature) / block.output_scale_factor

    return Target(name, block, block.conv2, lambda x, y: y, rejoin)


def whole_residual(name: str, module: nn.Module) -> Target:
    """The target that keeps the skip path of `module` fresh if it has one, else its output."""
    if isinstance(module, ResnetBlock2D):
        return branch(name, module)
    if isinstance(module, Transformer2DModel) and module.is_input_continuous:
        return residual(name, module, returns_tuple=True)
    if isinstance(module, Attention) and module.residual_connection:
        return residual(name, module)
    return output(name, module)
