"""Targets: a module skipped on reuse steps, and how its output is put together again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from frdiff.adapters.streams import Inputs, streams_of
from frdiff.adapters.structure import CONVOLUTIONS
from frdiff.network.calls import first_input
from frdiff.network.trees import filled, form_of, tensors_in

__all__ = ["Features", "Target", "attention", "branch", "output", "whole"]

Features = tuple[Tensor, ...]


@dataclass(frozen=True)
class Target:
    """One place where features are stored on keyframes and stand in on reuse steps.

    Attributes:
        name: dotted module name within the denoiser.
        module: skipped on reuse steps.
        source: the module whose forward gives the features; `module` itself or one inside it.
        extract: the features, one per stream, from the inputs and the output of `source`.
        rejoin: what `module` returns on a reuse step, from its inputs, the features, and the form
            (see `frdiff.network.trees`) of what it returned on the keyframe.
        kept: modules within `module` that run on reuse steps all the same.
        idle: modules beside it whose outputs nothing but `module` reads, skipped too.
        bases: of the tensors that `module` returns, from its inputs, their form and their shapes,
            those inputs that it adds a feature to and nothing else; None for what is made anew.
            Such targets can be stored together with others, see `frdiff.network.layout`.
        reads: whether `rejoin` reads inputs at all.
        shortcut: the convolution through which alone `rejoin` reads the first input, if that is
            all: what it makes of some channels can be stored with the feature.
    """

    name: str
    module: nn.Module
    source: nn.Module
    extract: Callable[[Inputs, Any], Features]
    rejoin: Callable[[Inputs, Features, Any], Any]
    kept: tuple[nn.Module, ...] = ()
    idle: tuple[nn.Module, ...] = ()
    bases: Callable[[Inputs, Any, Sequence[Any]], list[Tensor | None]] | None = None
    reads: bool = True
    shortcut: nn.Module | None = None


def output(name: str, module: nn.Module, idle: tuple[nn.Module, ...] = ()) -> Target:
    """A target whose features are all the tensors that `module` returns.

    They are copied: whoever gets an output may change it in place.
    """
    return Target(
        name,
        module,
        module,
        lambda inputs, result: tuple(tensor.clone() for tensor in tensors_in(result)),
        lambda inputs, features, form: filled(form, features),
        idle=idle,
        reads=False,
    )


def whole(name: str, module: nn.Module) -> Target:
    """A target whose features are what `module` adds to each of its streams.

    Of a tensor that continues no input, as where a block changes the number of channels, the
    feature is the tensor itself.
    """
    streams = streams_of(module)

    def extract(inputs: Inputs, result: Any) -> Features:
        tensors = tensors_in(result)
        bases = streams.bases(inputs, form_of(result), [tensor.shape for tensor in tensors])
        return tuple(
            tensor.clone() if base is None else (tensor - base).to(tensor.dtype)
            for tensor, base in zip(tensors, bases, strict=True)
        )

    def rejoin(inputs: Inputs, features: Features, form: Any) -> Any:
        bases = streams.bases(inputs, form, [feature.shape for feature in features])
        parts = [
            feature if base is None else (base + feature).to(feature.dtype)
            for feature, base in zip(features, bases, strict=True)
        ]
        return filled(form, parts)

    return Target(name, module, module, extract, rejoin, bases=streams.bases)


def attention(name: str, module: nn.Module) -> Target:
    """A target whose feature is what an attention with a skip path of its own adds to its input.

    Before rescaling, if it rescales.
    """
    scale = getattr(module, "rescale_output_factor", 1.0)
    return Target(
        name,
        module,
        module,
        lambda inputs, result: (result * scale - first_input(*inputs),),
        lambda inputs, features, form: (first_input(*inputs) + features[0]) / scale,
        bases=_first if scale == 1 else None,
    )


def _first(inputs: Inputs, form: Any, shapes: Sequence[Any]) -> list[Tensor | None]:
    return [first_input(*inputs)]


def _none(inputs: Inputs, form: Any, shapes: Sequence[Any]) -> list[Tensor | None]:
    return [None]


def branch(name: str, block: nn.Module) -> Target:
    """A target whose feature is the residual branch of a ResNet block, up to its `conv2`."""
    parts = (getattr(block, part, None) for part in ("upsample", "downsample", "conv_shortcut"))
    skip: list[Callable[[Tensor], Tensor]] = [part for part in parts if part is not None]
    scale = getattr(block, "output_scale_factor", 1.0)

    def rejoin(inputs: Inputs, features: Features, form: Any) -> Tensor:
        x: Tensor = first_input(*inputs)
        for part in skip:
            x = part(x)
        return (x + features[0]) / scale

    return Target(
        name,
        block,
        block.get_submodule("conv2"),
        lambda inputs, result: (result,),
        rejoin,
        kept=tuple(part for part in skip if isinstance(part, nn.Module)),
        bases=None if scale != 1 else _none if skip else _first,
        shortcut=skip[0] if len(skip) == 1 and isinstance(skip[0], CONVOLUTIONS) else None,
    )
