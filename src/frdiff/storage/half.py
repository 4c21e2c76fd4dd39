"""Half precision: float16 in the place of float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frdiff.storage.ways import Kind, smaller

__all__ = ["Half"]

WIDE = (torch.float32, torch.float64)
MOST = 32768.0  # half of what float16 holds


class Half:
    """Holds numbers of 4 or 8 bytes as float16, which rounds them to 11 bits.

    A row of a batch with numbers beyond float16 is scaled down to fit, so one number a row is
    stored beside them: 1 for nearly all.
    """

    name = "half"

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """The numbers, and a scale for every row."""
        if kind.dtype not in WIDE or len(kind.shape) < 2:
            return (kind,)
        scales = torch.Size((kind.shape[0], *[1] * (len(kind.shape) - 1)))
        return smaller(kind, Kind(kind.shape, torch.float16), Kind(scales, torch.float32))

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The numbers, and a scale for every row."""
        if len(self.parts(Kind.of(tensor))) == 1:
            return (tensor,)
        most = tensor.abs().amax(tuple(range(1, tensor.ndim)), keepdim=True)
        scale = (most / MOST).clamp(min=1).to(torch.float32)
        return (tensor / scale).to(torch.float16), scale

    def restore(self, parts: Sequence[Tensor], kind: Kind) -> Tensor:
        """The tensor."""
        if len(parts) == 1:
            return parts[0]
        numbers, scale = parts
        return numbers.to(kind.dtype) * scale
