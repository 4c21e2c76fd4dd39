"""Ways of holding a tensor in fewer bytes: the interface, and several ways one after another.

A way makes parts of a tensor and makes the tensor of the parts again, nearly. What it makes of
which kind of tensor is known before there is any, and with it the bytes. Rows of a batch never meet
in a part, so a picture does not depend on the others drawn with it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Chain", "Kind", "Way", "nbytes_of", "smaller"]


class Kind(NamedTuple):
    """What is known of a tensor before there is one."""

    shape: torch.Size
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Kind":
        """Of a tensor that there is."""
        return cls(tensor.shape, tensor.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of such a tensor."""
        return self.shape.numel() * self.dtype.itemsize


class Way(Protocol):
    """One way of holding a tensor.

    What it cannot make smaller it leaves alone: one part, the tensor itself.
    """

    name: str

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """Of what kinds the parts of such a tensor are."""

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The parts."""

    def restore(self, parts: Sequence[Tensor], kind: Kind) -> Tensor:
        """A tensor of that kind, of its parts; it may be one of them."""


class Chain:
    """Ways one after another, each of which holds the parts of the one before; none is plain."""

    def __init__(self, *ways: Way) -> None:
        self.ways = ways
        self.name = ", ".join(way.name for way in ways) or "plain"

    def parts(self, kind: Kind) -> tuple[Kind, ...]:
        """Of what kinds the parts of such a tensor are."""
        return self._levels(kind)[-1]

    def store(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The parts."""
        parts: tuple[Tensor, ...] = (tensor,)
        for way in self.ways:
            parts = tuple(part for whole in parts for part in way.store(whole))
        return parts

    def restore(self, parts: Sequence[Tensor], kind: Kind) -> Tensor:
        """A tensor of that kind, of its parts; it may be one of them."""
        levels = self._levels(kind)
        for way, kinds in zip(reversed(self.ways), reversed(levels[:-1]), strict=True):
            wholes, begin = [], 0
            for whole in kinds:
                end = begin + len(way.parts(whole))
                wholes.append(way.restore(parts[begin:end], whole))
                begin = end
            parts = wholes
        return parts[0]

    def _levels(self, kind: Kind) -> list[tuple[Kind, ...]]:
        """The kinds before and after every way."""
        levels: list[tuple[Kind, ...]] = [(kind,)]
        for way in self.ways:
            levels.append(tuple(part for whole in levels[-1] for part in way.parts(whole)))
        return levels


def smaller(kind: Kind, *parts: Kind) -> tuple[Kind, ...]:
    """The parts, if they take fewer bytes than the whole, else the whole."""
    return parts if sum(part.nbytes for part in parts) < kind.nbytes else (kind,)


def nbytes_of(way: Way, kind: Kind) -> int:
    """Bytes of the parts of such a tensor."""
    return sum(part.nbytes for part in way.parts(kind))
