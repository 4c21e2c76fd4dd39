"""What pictures a cache is made of: batches of them, and by what they are told from others."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from frdiff.policy.checks import quote

__all__ = ["add_contents", "batch_of", "check_ids", "digest_of_ids"]

SLACK = 1e-3  # of what rounds beyond [-1, 1]


def batch_of(pictures: list[Any]) -> Tensor:
    """The pictures as a batch."""
    for picture in pictures:
        if not isinstance(picture, Tensor) or not picture.is_floating_point():
            raise TypeError(
                f"a picture must be a floating point tensor, got {quote(picture)}; where there is "
                "more in an item than a picture, give the pictures alone"
            )
        if picture.shape != pictures[0].shape:
            raise ValueError(
                f"pictures must be of one shape, got {[*picture.shape]} beside "
                f"{[*pictures[0].shape]}; make a cache for every shape"
            )
    batch = torch.stack(pictures)
    low, high = batch.min().item(), batch.max().item()
    if not -1 - SLACK <= low <= high <= 1 + SLACK:  # NaN is not, either
        raise ValueError(f"pictures must be in [-1, 1], got {low:g} to {high:g}")
    return batch


def check_ids(ids: object, items: int) -> None:
    """Refuse ids that are not a text for each of so many pictures; None is none."""
    if ids is None:
        return
    if not isinstance(ids, Sequence) or not all(isinstance(one, str) for one in ids):
        raise TypeError(f"ids must be a list of texts, got {quote(ids)}")
    if len(ids) != items:
        raise ValueError(f"there must be an id for each of {items} pictures, got {len(ids)}")


def digest_of_ids(ids: Sequence[str], rows: Iterable[int]) -> str:
    """SHA-256 of the ids of some pictures."""
    return hashlib.sha256(json.dumps([ids[row] for row in rows]).encode()).hexdigest()


def add_contents(digest: Any, batch: Tensor) -> None:
    """Add pictures to a digest that does not depend on how they are cut into batches."""
    for picture in batch:
        digest.update(f"{picture.dtype} {[*picture.shape]}".encode())
        digest.update(picture.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
