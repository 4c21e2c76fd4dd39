"""Adaptive guidance: the unconditional half of a batch is dropped once both halves agree.

They agree where the cosine of the angle between what the denoiser returns for both exceeds a
threshold. From then on the sample in question follows its conditional score alone, until the run
ends. A batch shrinks sample by sample, so that work is saved as it would be one at a time.

References:
    Adaptive Guidance: Training-free Acceleration of Conditional Diffusion Models (Castillo, Kohler,
    Perez, Perez, Pumarola, Ghanem, Arbelaez, Thabet, AAAI 2025, arXiv 2312.12487).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline, DiTPipeline
from torch import Tensor
from torch.utils._pytree import tree_map

from frdiff.network.calls import first_input, tensor_of
from frdiff.network.denoisers import find_denoisers
from frdiff.network.trees import mapped
from frdiff.network.wrapped import Wrapped
from frdiff.schedulers.clock import Clock

__all__ = ["adaptive_guidance"]


class _Halves:
    """A denoiser's forward that leaves out unconditional rows no longer needed."""

    def __init__(self, compute: Callable[..., Any], threshold: float, known_first: bool) -> None:
        self.compute, self.threshold, self.known_first = compute, threshold, known_first
        self.begin()

    def begin(self) -> None:
        self.open: Tensor | None = None  # of each sample, whether both rows are computed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sample = first_input(args, kwargs)
        rows, count = len(sample), len(sample) // 2
        if rows % 2 or not torch.equal(sample[:count], sample[count:]):
            return self.compute(*args, **kwargs)  # not guided in one batch
        if self.open is None:
            self.open = torch.ones(count, dtype=torch.bool, device=sample.device)
        every = torch.ones_like(self.open)
        kept = torch.cat([every, self.open] if self.known_first else [self.open, every])
        if not kept.all():
            args, kwargs = tree_map(lambda entry: _chosen(entry, kept), (args, kwargs))
        result = self.compute(*args, **kwargs)
        if not kept.all():
            # Rows left out are those of the same sample's condition.
            places = kept.cumsum(0) - 1
            places[~kept] = places.roll(count)[~kept]
            result = mapped(result, lambda tensor: tensor[places])
        score = tensor_of(result)[:, : sample.shape[1]].flatten(1)
        alike = torch.cosine_similarity(score[:count], score[count:])
        self.open = self.open & (alike <= self.threshold)
        return result


def _chosen(entry: Any, kept: Tensor) -> Any:
    """The rows kept of a tensor that has one for every row of the batch; anything else as it is."""
    batched = isinstance(entry, Tensor) and entry.ndim and len(entry) == len(kept)
    return entry[kept] if batched else entry


@contextmanager
def adaptive_guidance(pipe: DiffusionPipeline, threshold: float) -> Iterator[DiffusionPipeline]:
    """The pipeline with guidance dropped late; as before afterwards.

    Args:
        threshold: cosine, in [-1, 1]. Larger: guidance for longer; at 1 throughout.
    """
    (denoiser,) = find_denoisers(pipe).values()
    # DiTPipeline puts the condition first, others last.
    halves = _Halves(denoiser.forward, threshold, isinstance(pipe, DiTPipeline))
    clock = Clock(pipe.scheduler, halves.begin, lambda *ended: None)
    wrapped = Wrapped(denoiser, "forward", lambda *args, **kwargs: halves(*args, **kwargs))
    try:
        yield pipe
    finally:
        wrapped.restore()
        clock.detach()
