"""Tapes: what denoisers returned in one run, so that other runs need not compute its beginning."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from frdiff.network.calls import sample_in
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.network.wrapped import Wrapped
from frdiff.search.subject import Subject, altered_scores

__all__ = ["Tape", "taped"]


class Tape:
    """Records every denoiser call of a draw, and answers the first ones of the next draws.

    Args:
        num_steps: of a run; a draw may make several, one after another.

    Attributes:
        alike: whether every call recorded returns one score, with as many dimensions as the first
            of its inputs, which is the sample then.
    """

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._calls: list[tuple[int, Any, list[Tensor]]] = []
        self._whole = False
        self.record()

    def record(self) -> None:
        """Record the next draw, whole."""
        self._calls.clear()
        self._recording, self._known, self.alike = True, 0, True
        self._made = self._ended = 0

    def play(self, steps: int) -> None:
        """Answer the calls of the first `steps` steps of every run in the next draw.

        They must get what they got in the draw recorded.
        """
        if self._recording:
            # A pipeline that steps otherwise than once per step: then nothing is played.
            self._whole = self._ended % self._num_steps == 0
        self._recording, self._known = False, steps if self._whole else 0
        self._made = self._ended = 0

    def end_step(self, score: Tensor) -> Tensor:
        """Count a step; the score is left as it is."""
        self._ended += 1
        return score

    def heard(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """A denoiser's forward that records and plays; not while it is compiled."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return compute(*args, **kwargs)
            place = self._made
            self._made += 1
            if not self._recording and place < len(self._calls):
                step, form, tensors = self._calls[place]
                if step < self._known:
                    return filled(form, [tensor.clone() for tensor in tensors])
            result = compute(*args, **kwargs)
            if self._recording:
                tensors = [tensor.clone() for tensor in tensors_in(result)]
                sample = sample_in((args, kwargs))
                dims = [tensor.dim() for tensor in tensors]
                self.alike &= sample is not None and dims == [sample.dim()]
                self._calls.append((self._ended % self._num_steps, form_of(result), tensors))
            return result

        return forward


@contextmanager
def taped(subject: Subject, solver: str | None, num_steps: int) -> Iterator[Tape]:
    """A tape of the subject's denoisers; within, its own scheduler is the one called `solver`."""
    tape = Tape(num_steps)
    wrapped = [
        Wrapped(denoiser, "forward", tape.heard(denoiser.forward)) for denoiser in subject.denoisers
    ]
    try:
        with altered_scores(subject, solver, tape.end_step):
            yield tape
    finally:
        for row in reversed(wrapped):
            row.restore()
