"""Edits: of a picture drawn again, only what its change reaches is computed again.

Every convolution keeps its last input and output. Where a new input differs within a box, the
outputs that the box reaches are computed and laid into the old ones; the next convolution finds a
box a pixel wider. Nothing is assumed of the network: what is equal is found by comparing.

Group norms look at whole pictures, so that with them any edit changes every pixel a little.
Their means and variances are therefore held from the first picture on: an edit changes what it
touches and nothing else, and the same as if the whole picture were drawn with these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frdiff.network.wrapped import Wrapped

__all__ = ["Regions", "regions"]

Box = tuple[tuple[int, int], ...]


@dataclass
class _Kept:
    """What a convolution has kept: its last input and output."""

    x: Tensor
    y: Tensor


class Regions:
    """A network of which each call computes only what changed since the last; `regions` makes one.

    Attributes:
        macs: of the convolutions in the last call.
        full_macs: of them, had they all been computed.
    """

    def __init__(self, network: nn.Module, hold_norms: bool) -> None:
        self.macs = self.full_macs = 0
        self._network = network
        self._hold_norms = hold_norms
        self._kept: dict[nn.Module, _Kept] = {}
        self._norms: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._wrapped: list[Wrapped] = []
        self._shapes: Any = None

    def __enter__(self) -> "Regions":
        if self._wrapped:
            raise RuntimeError("these regions are entered already; make others for another network")
        self._wrap(self._network, self._called)
        for module in self._network.modules():
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
                self._wrap(module, self._convolved)
            elif isinstance(module, nn.GroupNorm) and self._hold_norms:
                self._wrap(module, self._normed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for wrapped in reversed(self._wrapped):
            wrapped.restore()
        self._wrapped.clear()
        self.forget()

    def forget(self, *, norms: bool = True) -> None:
        """Let the next call compute all, and take new means and variances unless they are held."""
        self._kept.clear()
        if norms:
            self._norms.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(kept.x.nbytes + kept.y.nbytes for kept in self._kept.values())

    def _wrap(self, module: nn.Module, called: Any) -> None:
        called = partial(called, module, module.forward)
        self._wrapped.append(Wrapped(module, "forward", called))

    def _called(self, module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """A call of the network: one of another shape begins anew."""
        self.macs = self.full_macs = 0
        tensors = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
        shapes = [(part.shape, part.dtype, part.device) for part in tensors]
        if shapes != self._shapes:
            self.forget()
        self._shapes = shapes
        try:
            with torch.no_grad():
                return forward(*args, **kwargs)
        except BaseException:
            self.forget()  # some convolutions are a call ahead of others
            raise

    def _convolved(self, conv: nn.Conv2d, forward: Any, x: Tensor) -> Tensor:
        kept = self._kept.get(conv)
        if kept is None or kept.x.shape != x.shape:
            y = forward(x)
            kept = self._kept[conv] = _Kept(x.clone(), y)
            self._count(conv, y, y)
        else:
            self._edit(conv, kept, x)
        return kept.y.clone()  # the network may change it in place

    def _edit(self, conv: nn.Conv2d, kept: _Kept, x: Tensor) -> None:
        """Bring what is kept up to date with an input that differs from it within a box."""
        changed = _changed(kept.x, x)
        reached = changed and _reached(conv, changed, kept.y.shape[2:])
        if changed:
            kept.x[_slices(changed)] = x[_slices(changed)]
        if not reached:
            self._count(conv, kept.y, None)
            return
        read, beyond = _read(conv, reached, x.shape[2:])
        part = F.pad(x[_slices(read)], beyond)
        fresh = F.conv2d(part, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
        kept.y[_slices(reached)] = fresh
        self._count(conv, kept.y, fresh)

    def _count(self, conv: nn.Conv2d, whole: Tensor, computed: Tensor | None) -> None:
        each = conv.in_channels // conv.groups * prod(conv.kernel_size)
        self.full_macs += whole.numel() * each
        self.macs += 0 if computed is None else computed.numel() * each

    def _normed(self, norm: nn.GroupNorm, forward: Any, x: Tensor) -> Tensor:
        """A group norm by the means and variances of the first picture: a scale and a shift."""
        if norm not in self._norms:
            rows = x.reshape(len(x), norm.num_groups, -1).float()
            variance, mean = torch.var_mean(rows, dim=2, unbiased=False)
            form = (len(x), -1, *[1] * (x.dim() - 2))
            each = norm.num_channels // norm.num_groups
            scale = torch.rsqrt(variance + norm.eps).repeat_interleave(each, dim=1)
            scale = scale if norm.weight is None else scale * norm.weight.float()
            shift = -mean.repeat_interleave(each, dim=1) * scale
            shift = shift if norm.bias is None else shift + norm.bias.float()
            self._norms[norm] = scale.reshape(form), shift.reshape(form)
        scale, shift = self._norms[norm]
        return torch.addcmul(shift, x.float(), scale).to(x.dtype)


def regions(network: nn.Module, *, hold_norms: bool = True) -> Regions:
    """A context in which each call of `network` computes only what changed since the last.

        with frdiff.frames.regions(vae.decoder) as kept:
            before = vae.decode(latents).sample
            after = vae.decode(edited).sample      # computes what the edit reaches
            print(kept.macs / kept.full_macs)

    A result is that of the whole call, to rounding. Attentions and all else but convolutions are
    computed as ever. Weights must stand still meanwhile. Finding the box waits for the device once
    per convolution.

    Args:
        network: of 2D convolutions, such as the decoder of an image VAE.
        hold_norms: take the means and variances of group norms from the first call. Without that
            results are those of the plain network, and where it has group norms nothing is saved.

    Raises:
        ValueError: it has no 2D convolution.
    """
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        raise ValueError(
            f"{type(network).__name__} has no 2D convolution, so an edit reaches all of it; "
            "regions are for networks such as a VAE's decoder"
        )
    return Regions(network, hold_norms)


def _changed(old: Tensor, new: Tensor) -> Box | None:
    """The box of rows and columns outside of which two tensors (N, C, H, W) are equal."""
    found = (old != new).any(dim=1).any(dim=0).nonzero()
    if not len(found):
        return None
    low, high = found.amin(dim=0).tolist(), found.amax(dim=0).tolist()
    return tuple((a, b + 1) for a, b in zip(low, high, strict=True))


def _reached(conv: nn.Conv2d, changed: Box, sizes: Sequence[int]) -> Box | None:
    """The box of outputs, of such sizes, that read from a box of inputs."""
    box = []
    for axis, (low, high) in enumerate(changed):
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        moved = low + _padding(conv, axis) - reach, high - 1 + _padding(conv, axis)
        first, last = -(-moved[0] // conv.stride[axis]), moved[1] // conv.stride[axis]
        box.append((max(first, 0), min(last + 1, sizes[axis])))
    return None if any(first >= stop for first, stop in box) else tuple(box)


def _read(conv: nn.Conv2d, reached: Box, sizes: Sequence[int]) -> tuple[Box, list[int]]:
    """The box of inputs that a box of outputs reads, and how many zeros beyond, as `F.pad` asks."""
    box: list[tuple[int, int]] = []
    beyond: list[int] = []
    for axis, (first, stop) in enumerate(reached):
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        low = first * conv.stride[axis] - _padding(conv, axis)
        high = (stop - 1) * conv.stride[axis] - _padding(conv, axis) + reach + 1
        box.append((max(low, 0), min(high, sizes[axis])))
        beyond = [max(-low, 0), max(high - sizes[axis], 0), *beyond]
    return tuple(box), beyond


def _padding(conv: nn.Conv2d, axis: int) -> int:
    """Zeros before an axis."""
    if isinstance(conv.padding, str):
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        return reach // 2 if conv.padding == "same" else 0
    return conv.padding[axis]


def _slices(box: Box) -> tuple[slice, ...]:
    return (slice(None), slice(None), *(slice(*side) for side in box))
