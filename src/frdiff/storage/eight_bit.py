"""Eight bits: whole numbers from -127 to 127, with a scale for every channel."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frdiff.storage.ways import Kind, smaller

__all__ = ["EightBit"]

LEVELS = 127


class EightBit:
    """Holds numbers as 8 bits and a scale of 4 bytes for every channel of every row of a batch.

    Channels are the second dimension of pictures, the last one of tokens, shape (N, tokens, C).
    """

    name = "int8"

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """The numbers, and the scales."""
        if not kind.dtype.is_floating_point or len(kind.shape) < 2:
            return (kind,)
        kept = _kept(len(kind.shape))
        scales = [size if axis in kept else 1 for axis, size in enumerate(kind.shape)]
        numbers = Kind(kind.shape, torch.int8)
        return smaller(kind, numbers, Kind(torch.Size(scales), torch.float32))

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The numbers, and the scales."""
        if len(self.parts(Kind.of(tensor))) == 1:
            return (tensor,)
        kept = _kept(tensor.ndim)
        over = tuple(axis for axis in range(tensor.ndim) if axis not in kept)
        scale = tensor.abs().amax(over, keepdim=True).to(torch.float32) / LEVELS
        # A channel of zeros has scale 0, and any number does.
        numbers = (tensor / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
        return numbers.to(torch.int8), scale

    def restore(self, parts: Sequence[Tensor], kind: Kind) -> Tensor:
        """The tensor."""
        if len(parts) == 1:
            return parts[0]
        numbers, scale = parts
        return numbers.to(kind.dtype) * scale.to(kind.dtype)


def _kept(dimensions: int) -> tuple[int, ...]:
    """The dimensions of rows and of channels; of a vector a row there is one scale."""
    return {2: (0,), 3: (0, 2)}.get(dimensions, (0, 1))
