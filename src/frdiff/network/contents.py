"""Contents of whole numbers and masks in a pass on fake tensors, for code that asks for them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["KnownContents"]

LARGE = 2**24  # elements of a mask that is not worth its memory


class KnownContents(TorchDispatchMode):
    """Computes whole numbers for real, over a `FakeTensorMode` that computes nothing.

    Masks, positions and lengths decide how long sequences are, so code that reads them (a mask as
    an index, `.item()`, `.tolist()`) stops a pass on fake tensors. Here a tensor of whole numbers
    or booleans that comes from known ones is known too; floating point stays fake. What is asked of
    numbers that come from floating point, such as which expert a token goes to, is answered as if
    they were zero: that costs the same. Flex attention counts as if nothing were masked.

    It must be the innermost mode, so that what stands in for flex attention is seen by others.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.higher_order.flex_attention:
            return _attention(*args[:3]), *torch.empty(2)
        if func in _INDEXING:
            args = (args[0], _numbered(args[1]), *args[2:])
        known = not any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        try:
            result = func(*args, **kwargs)
        except _WANTS_CONTENTS:
            args, kwargs = tree_map_only(FakeTensor, _zeros, (args, kwargs))
            return _computed(func, args, kwargs)
        if known and all(_is_whole(leaf) for leaf in tree_leaves(result)):
            return _computed(func, args, kwargs)
        return result


_INDEXING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
)
_WANTS_CONTENTS = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    NotImplementedError,
)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=grouped)


def _computed(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    with unset_fake_temporarily():
        return func(*args, **kwargs)


def _is_whole(leaf: Any) -> bool:
    return not isinstance(leaf, Tensor) or not (
        leaf.is_floating_point() or leaf.is_complex() or leaf.numel() > LARGE
    )


def _zeros(fake: FakeTensor) -> Tensor:
    with unset_fake_temporarily():
        return torch.zeros(fake.shape, dtype=fake.dtype, device=fake.device)


def _numbered(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices with places in stead of known masks, which fake tensors cannot be indexed by."""
    found: list[Tensor | None] = []
    for index in indices:
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            mask = _zeros(index) if isinstance(index, FakeTensor) else index
            found += _computed(torch.nonzero, (mask,), {}).unbind(1)
        else:
            found.append(index)
    return found
