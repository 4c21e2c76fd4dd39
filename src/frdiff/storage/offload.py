"""Offloading: features in the memory of the host between steps.

What a keyframe stored goes there in one piece of memory a context and group, pinned where there is
CUDA, once its step has ended; a step with stored features brings back what it needs of one target
after another and keeps the forecast alone. All copies are queued on the stream that computes, so
nothing waits, and a copy back comes after the copy away.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["on_host", "to_host"]

ALIGNMENT = 16  # bytes


def on_host(device: torch.device) -> bool:
    """Whether there is nothing to gain, since a model on that device keeps its tensors there."""
    return device.type == "cpu"


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors of one device, all in one piece of the host's memory."""
    offsets, end = [], 0
    for tensor in tensors:
        offsets.append(end)
        end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    pinned = bool(tensors) and tensors[0].device.type == "cuda"
    page = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    copies = []
    for tensor, offset in zip(tensors, offsets, strict=True):
        place = page[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        copies.append(place.copy_(tensor, non_blocking=True))
    return copies
