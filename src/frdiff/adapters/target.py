"""Targets: a module skipped on reuse steps, and how its output is put together again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

__all__ = [
    "Target",
    "attention",
    "branch",
    "copied_output",
    "output",
    "residual",
    "transformer",
    "whole_residual",
]


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
    """A target whose feature is the output of `module`, a tensor that nobody changes in place."""
    return Target(name, module, module, lambda x, y: y, lambda x, feature: feature)


def copied_output(name: str, module: nn.Module) -> Target:
    """A target whose feature is the output of `module`, safe from code that changes it in place."""
    return Target(name, module, module, lambda x, y: _clone(y), lambda x, feature: feature.clone())


def _clone(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def residual(name: str, module: nn.Module) -> Target:
    """A target whose feature is output minus input."""
    return Target(name, module, module, lambda x, y: y - x, lambda x, feature: x + feature)


def transformer(name: str, module: Transformer2DModel) -> Target:
    """A target whose feature is output minus input, of a module that returns a tuple."""
    return Target(name, module, module, lambda x, y: y[0] - x, lambda x, feature: (x + feature,))


def attention(name: str, module: Attention) -> Target:
    """A target whose feature is what an attention block adds to its input, before rescaling."""
    scale = module.rescale_output_factor
    return Target(
        name,
        module,
        module,
        lambda x, y: y * scale - x,
        lambda x, feature: (x + feature) / scale,
    )


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
        return transformer(name, module)
    if isinstance(module, Attention) and module.residual_connection:
        return attention(name, module)
    if isinstance(module, BasicTransformerBlock):
        return residual(name, module)
    return copied_output(name, module)
