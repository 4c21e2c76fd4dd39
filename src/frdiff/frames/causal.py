"""What the decoder of a video VAE does over time, found by structure and by watching a decode.

Nothing here knows a class of VAE: a decoder is causal where its frames depend on the latents so
far, and on nothing later. The layers through which they depend on earlier ones are few: causal
convolutions, attention with a causal mask, and what makes one frame of the first latent and
several of any later one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from frdiff.network.trees import tensors_in

__all__ = [
    "TimeLayers",
    "Trace",
    "check_padding",
    "differing",
    "looking_ahead",
    "nearly",
    "time_layers",
    "unaltered",
]

# A place of a module: its name, and whether its input or its output is meant.
Place = tuple[str, bool]


@dataclass(frozen=True)
class TimeLayers:
    """The layers through which frames depend on earlier ones, by their names within the VAE.

    Attributes:
        convolutions: over time, and how many input frames each looks back.
        upsamplers: that make one frame of the first that they get, and several of every other.
        attentions: with a causal mask.
        dropped: frames that `decode` takes off the front of what the decoder returns.
    """

    convolutions: dict[str, int]
    upsamplers: tuple[str, ...]
    attentions: tuple[str, ...]
    dropped: int

    def within(self, upsampler: str) -> set[str]:
        """The convolutions of an upsampler."""
        return {name for name in self.convolutions if name.startswith(upsampler + ".")}


class Trace(TorchFunctionMode):
    """Watches the modules of a VAE while it is entered: what goes in, what comes out, in order.

    Attributes:
        tensors: the first tensor of every call, by place.
        order: the places in order, each with the number of its call.
        masked: names of modules that compute attention under a mask.
    """

    def __init__(self, vae: ModelMixin) -> None:
        super().__init__()
        self.tensors: dict[Place, list[Tensor]] = {}
        self.order: list[tuple[Place, int]] = []
        self.masked: list[str] = []
        self._vae = vae
        self._within = [""]
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "Trace":
        for name, module in self._vae.named_modules():
            before, after = self._hooks(name)
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(module.register_forward_hook(after))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
            if mask is not None and self._within[-1] not in self.masked:
                self.masked.append(self._within[-1])
        return func(*args, **kwargs)

    def _hooks(self, name: str) -> tuple[Callable, Callable]:
        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self._within.append(name)
            self._note((name, True), (args, kwargs))

        def after(module: nn.Module, args: tuple, output: Any) -> None:
            self._within.pop()
            self._note((name, False), output)

        return before, after

    def _note(self, place: Place, tree: Any) -> None:
        for tensor in tensors_in(tree)[:1]:
            calls = self.tensors.setdefault(place, [])
            self.order.append((place, len(calls)))
            calls.append(tensor.clone())


def check_padding(decoder: nn.Module) -> None:
    """Refuse a convolution that pads both ends of time.

    Raises:
        ValueError: there is one.
    """
    for name, conv in _convolutions(decoder):
        if conv.padding[0] not in (0, "valid"):
            raise ValueError(
                f"decoder.{name} pads both ends of time, so a frame depends on later ones, and no "
                "latent can be decoded before all are there; decode the whole clip at once"
            )


def time_layers(vae: ModelMixin, whole: Trace, first: Trace, num_frames: int) -> TimeLayers:
    """The layers of a decoder through which frames depend on earlier ones.

    Args:
        whole: a clip decoded at once.
        first: its first latent decoded alone.
        num_frames: of the clip.
    """
    names = [name for name, entering in whole.tensors if not entering]
    growing = [name for name in names if _growth(name, first) == 1 < _growth(name, whole)]
    innermost = [
        name for name in growing if not any(other.startswith(name + ".") for other in growing)
    ]
    inner = sum(frames.shape[2] for frames in whole.tensors["decoder", False])
    return TimeLayers(
        {
            f"decoder.{name}": (conv.kernel_size[0] - 1) * conv.dilation[0]
            for name, conv in _convolutions(vae.get_submodule("decoder"))
        },
        tuple(innermost),
        tuple(whole.masked),
        inner - num_frames,
    )


def differing(whole: Trace, parts: Sequence[Trace]) -> str:
    """The name of the first layer that makes something else of a clip in parts than of it whole."""
    for (place, number), joined, axis in _matched(whole, parts):
        expected = whole.tensors[place][number]
        if not nearly(joined, expected.narrow(axis, 0, joined.shape[axis])):
            return _layer(place)
    return "decoder"


def looking_ahead(whole: Trace, altered: Trace, parts: Sequence[Trace]) -> str:
    """The name of the first layer whose beginning is another where only the end was altered.

    Args:
        whole: a clip decoded at once.
        altered: the same with other latents at its end.
        parts: decodes of the latents before that end; they tell where it begins in each layer.
    """
    for (place, number), joined, axis in _matched(whole, parts):
        pair = [trace.tensors[place][number] for trace in (whole, altered)]
        if not unaltered(*[tensor.narrow(axis, 0, joined.shape[axis]) for tensor in pair]):
            return _layer(place)
    return "decoder"


def nearly(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same but for rounding; the products of a GPU may have 10 bits."""
    if a.shape != b.shape:
        return False
    tolerance = math.sqrt(max(torch.finfo(b.dtype).eps, 2**-10))
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def unaltered(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors that one computation made, of one shape, are the same.

    Not to the last bit: a convolution by way of a transform mixes its inputs, and divides them.
    """
    tolerance = max(2 * torch.finfo(b.dtype).eps, 2**-18)
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def _matched(
    whole: Trace, parts: Sequence[Trace]
) -> Iterator[tuple[tuple[Place, int], Tensor, int]]:
    """Every call that parts of a clip have as the whole does, what they make of it, and its axis
    of time."""
    for place, number in whole.order:
        calls = [part.tensors.get(place, []) for part in parts]
        expected = whole.tensors[place]
        if all(len(each) == len(expected) for each in calls):
            pieces = [each[number] for each in calls]
        elif sum(map(len, calls)) == len(expected):
            pieces = [list(chain(*calls))[number]]
        else:
            continue
        joined = _joined(pieces, expected[number].shape)
        if joined is not None:
            yield (place, number), *joined


def _layer(place: Place) -> str:
    """The layer that made what is at a place: of what goes into one, the one that it is in."""
    name, entering = place
    return name.rpartition(".")[0] if entering else name


def _convolutions(decoder: nn.Module) -> Iterator[tuple[str, nn.Conv1d | nn.Conv3d]]:
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv3d) and module.kernel_size[0] > 1:
            yield name, module


def _growth(name: str, trace: Trace) -> float:
    """How many times as many frames leave a module as enter it; 0 if that cannot be told."""
    entered, left = trace.tensors.get((name, True), []), trace.tensors.get((name, False), [])
    if len(entered) != 1 or len(left) != 1 or entered[0].ndim != 5 or left[0].ndim != 5:
        return 0
    return left[0].shape[2] / entered[0].shape[2]


def _joined(pieces: Iterable[Tensor], shape: torch.Size) -> tuple[Tensor, int] | None:
    """The pieces joined along the one axis in which they fit into `shape`; None if there is none.

    All pieces together fill it, or its beginning where a decode broke off.
    """
    pieces = list(pieces)
    for axis in range(len(shape)):
        rest = {(*piece.shape[:axis], *piece.shape[axis + 1 :]) for piece in pieces}
        if rest != {(*shape[:axis], *shape[axis + 1 :])}:
            continue
        if sum(piece.shape[axis] for piece in pieces) <= shape[axis]:
            return torch.cat(pieces, axis), axis
    return None
