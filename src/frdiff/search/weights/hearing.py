"""Hearing denoisers: how the halves of their scores differ, step by step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from frdiff.network.calls import sample_in
from frdiff.network.halves import apart, has_halves
from frdiff.network.trees import tensors_in
from frdiff.network.wrapped import Wrapped
from frdiff.search.subject import Subject

__all__ = ["Hearing", "hearing"]


class Hearing:
    """Hears the denoiser calls of a draw."""

    def __init__(self) -> None:
        self._heard: list[Tensor | None] = []

    def wrapped(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """A denoiser's forward that is heard; not while it is compiled."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            result = compute(*args, **kwargs)
            if not torch.compiler.is_compiling():
                self._heard.append(_apart(tensors_in(result), sample_in((args, kwargs))))
            return result

        return forward

    def difference(self, score: Tensor) -> Tensor | None:
        """How the halves of the step's only call differ, in the shape of the score that is taken.

        None where it has no halves of the same sample, or there were other calls, or none.
        """
        heard, self._heard = self._heard, []
        if len(heard) != 1 or heard[0] is None or heard[0].dim() != score.dim():
            return None
        found = heard[0][:, : score.shape[1]]  # what else is learnt lies in further channels
        if len(score) == 2 * len(found):
            found = torch.cat([found, found])  # some pipelines step every sample twice
        return found if found.shape == score.shape else None


@contextmanager
def hearing(subject: Subject) -> Iterator[Hearing]:
    """Hears all denoisers of a subject."""
    heard = Hearing()
    wrapped = [
        Wrapped(denoiser, "forward", heard.wrapped(denoiser.forward))
        for denoiser in subject.denoisers
    ]
    try:
        yield heard
    finally:
        for row in reversed(wrapped):
            row.restore()


def _apart(scores: tuple[Tensor, ...], sample: Tensor | None) -> Tensor | None:
    """See `apart`; None too where the halves of the sample are not the same."""
    return apart(scores[0], sample) if len(scores) == 1 and has_halves(sample) else None
