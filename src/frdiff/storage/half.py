"""Half precision: float16 in the place of float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frdiff.storage.ways import Kind

__all__ = ["Half"]

MOST = 32768.0  # half of what float16 holds


class Half:
    """Holds numbers of 4 or 8 bytes as float16, which rounds them to 11 bits.

    A row of a batch with numbers beyond float16 is scaled down to fit, so one number a row is
    stored beside them: 1 for nearly all.
    """

    name = "half"

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """The numbers, and a scale for every row."""
        if not _is_wide(kind):
            return (kind,)
        return Kind(kind.shape, torch.float16), Kind(_per_row(kind.shape), torch.float32)

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The numbers, and a scale for every row."""
        if not _is_wide(Kind.of(tensor)):
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


def _is_wide(kind: Kind) -> bool:
    return kind.dtype in (torch.float32, torch.float64) and len(kind.shape) > 1


def _per_row(shape: torch.Size) -> torch.Size:
    return torch.Size((shape[0], *[1] * (len(shape) - 1)))
