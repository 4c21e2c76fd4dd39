"""Low rank: every row of a batch as the product of two thin matrices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frdiff.storage.ways import Kind, smaller

__all__ = ["LowRank"]


@dataclass(frozen=True)
class LowRank:
    """Holds a matrix as its best approximation of a lower rank.

    The matrix of a row has its second dimension for one side and all further ones for the other:
    channels and places, or tokens and channels. The basis is fitted to the tensor itself, from the
    eigenvectors of the smaller of its two Gram matrices.

    Attributes:
        share: of the full rank that is kept, above 0 and below 1.
    """

    share: float
    name = "low rank"

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """The two matrices of all rows; the tensor where they would be no smaller."""
        if not kind.dtype.is_floating_point or len(kind.shape) < 3:
            return (kind,)
        count, first, second = _sides(kind.shape)
        rank = self._rank(kind)
        sides = torch.Size((count, first, rank)), torch.Size((count, rank, second))
        return smaller(kind, *(Kind(side, kind.dtype) for side in sides))

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The two matrices of all rows."""
        kind = Kind.of(tensor)
        if len(self.parts(kind)) == 1:
            return (tensor,)
        matrix = tensor.flatten(2).float()
        wide = matrix.shape[1] <= matrix.shape[2]
        thin = matrix if wide else matrix.mT
        _, vectors = torch.linalg.eigh(thin @ thin.mT)  # eigenvalues ascend
        # A copy: a part of the vectors would keep the memory of all of them.
        basis = vectors[..., -self._rank(kind) :].clone(memory_format=torch.contiguous_format)
        others = basis.mT @ thin
        pair = (basis, others) if wide else (others.mT.contiguous(), basis.mT.contiguous())
        return tuple(part.to(tensor.dtype) for part in pair)

    def restore(self, parts: Sequence[Tensor], kind: Kind) -> Tensor:
        """The tensor."""
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        return (first @ second).reshape(kind.shape)

    def _rank(self, kind: Kind) -> int:
        _, first, second = _sides(kind.shape)
        return math.ceil(self.share * min(first, second))


def _sides(shape: torch.Size) -> tuple[int, int, int]:
    return shape[0], shape[1], shape[2:].numel()
