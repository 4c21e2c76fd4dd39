"""The bank: features and scores of the last keyframes, by target and context.

A context is one denoiser call within a step. When guidance runs as two calls, the first call of
every step is one context and the second another, and what one stores the other never sees. That
holds for any pipeline or hand-written loop, without names given by the caller.

Nothing here decides anything. The forwards of patched modules, which `torch.compile` may trace,
only read `history` and write `fresh`; everything else happens between steps.
"""

from typing import Any

import torch
from torch import Tensor

from frdiff.forecast import combine, extrapolation_weights

__all__ = ["MAX_CONTEXTS", "Bank", "Context", "Slot", "scalars"]

MAX_CONTEXTS = 16


class Slot:
    """The features of one target in one context.

    Attributes:
        fresh: stored in the current step, not yet part of the history.
        history: features of the last keyframes, newest first; always `depth` of them once filled
            (the oldest repeated), so that a compiled graph sees one structure.
    """

    __slots__ = ("fresh", "history")

    def __init__(self) -> None:
        self.fresh: Tensor | None = None
        self.history: tuple[Tensor, ...] = ()


class Context:
    """What one denoiser call per step has stored.

    Attributes:
        slots: one per target.
        score: the raw score of the last keyframe; None if the policy never needs it.
        container: the type in which the denoiser returned it.
        sample: the input of the last keyframe: features fit only a call with its shape.
        ready: whether the last keyframe of the run was stored here.
        example: arguments of the last call, from which its cost is counted.
        stored: whether the current step stored features here.
        nodes: coordinates of the keyframes in the history, newest first.
        weights: forecast weights of the step, shape (depth,).
        next: the context of the next call in the same step.
    """

    def __init__(self, targets: int) -> None:
        self.next: Context | None = None
        self.slots = [Slot() for _ in range(targets)]
        self.clear()

    def clear(self) -> None:
        """Forget everything stored."""
        for slot in self.slots:
            slot.fresh, slot.history = None, ()
        self.score: Tensor | None = None
        self.container: Any = None
        self.sample: Tensor | None = None
        self.ready = False
        self.example: tuple[tuple, dict[str, Any]] = (), {}
        self.stored = False
        self.nodes: list[float] = []
        self.weights: Tensor | None = None

    def fits(self, sample: Tensor) -> bool:
        """Whether what is stored here belongs to inputs of the shape of `sample`."""
        return self.ready and self.sample is not None and self.sample.shape == sample.shape

    def feature(self, index: int) -> Tensor | None:
        """The feature of target `index`, forecast for this step; None if it was never stored."""
        history = self.slots[index].history
        if not history or self.weights is None:
            return None
        return combine(history, self.weights)

    def commit(self, coordinate: float, depth: int) -> None:
        """Move what this step stored into the history, dropping what is older than `depth`."""
        fresh = [slot.fresh for slot in self.slots]
        if any(
            new is not None and slot.history and slot.history[0].shape != new.shape
            for slot, new in zip(self.slots, fresh, strict=True)
        ):
            self.nodes = []
        # Second-order solvers evaluate twice at one noise level; the newer evaluation stays.
        elif coordinate in self.nodes:
            place = self.nodes.index(coordinate)
            self.nodes.pop(place)
            for slot in self.slots:
                slot.history = slot.history[:place] + slot.history[place + 1 :]
        self.nodes = [coordinate, *self.nodes][:depth]
        for slot, new in zip(self.slots, fresh, strict=True):
            kept = () if new is None else (new, *slot.history)[: len(self.nodes)]
            # Padding has weight 0. A second tensor on the same memory, since a compiled graph
            # made for one tensor given twice would not serve two different ones later.
            slot.history = kept + tuple(kept[-1].detach() for _ in range(depth - len(kept)) if kept)
            slot.fresh = None
        self.stored, self.ready = False, True

    def trim(self, depth: int) -> None:
        """Keep only the newest `depth` keyframes: the next step stores another."""
        self.nodes = self.nodes[:depth]
        for slot in self.slots:
            slot.history = slot.history[:depth]

    def aim(self, coordinate: float, depth: int) -> None:
        """Set the forecast weights for a reuse step at `coordinate`."""
        feature = next((slot.history[0] for slot in self.slots if slot.history), None)
        if feature is None:
            return
        weights = extrapolation_weights(self.nodes, coordinate)
        weights += [0.0] * (depth - len(weights))
        self.weights = scalars(weights, feature)


def scalars(values: list[float], like: Tensor) -> Tensor:
    """A tensor of `values`, of the type and on the device of `like`.

    Filled on the device: a copy from the host would wait for all the work queued there.
    """
    fill = [torch.full((), value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(fill)


class Bank:
    """The contexts of one denoiser, in the order of its calls within a step.

    Args:
        targets: number of targets.
        depth: keyframes kept per target, forecast order + 1.
    """

    def __init__(self, targets: int, depth: int) -> None:
        self.depth = depth
        # All made at once and linked, so that a traced forward only ever follows `next`.
        self.contexts = [Context(targets) for _ in range(MAX_CONTEXTS)]
        for context, following in zip(self.contexts, self.contexts[1:], strict=False):
            context.next = following

    def used(self) -> list[Context]:
        """The contexts that hold something."""
        return [context for context in self.contexts if context.stored or context.nodes]

    def commit(self, coordinate: float, keyframe: bool) -> None:
        """Take what the contexts stored in a step into their histories.

        Args:
            coordinate: of the step.
            keyframe: whether it was one by plan. Contexts that were not called then, such as
                those of a denoiser that has handed over to another, are too old to reuse.
        """
        for context in self.contexts:
            if context.stored:
                context.commit(coordinate, self.depth)
            elif keyframe and context.ready:
                context.clear()

    def make_room(self) -> None:
        """Drop the oldest keyframe of every context: the next step stores another."""
        for context in self.used():
            context.trim(self.depth - 1)

    def aim(self, coordinate: float) -> None:
        """Set the forecast weights of every context for a reuse step at `coordinate`."""
        for context in self.used():
            context.aim(coordinate, self.depth)

    @property
    def nbytes(self) -> int:
        """Bytes of all stored features and scores, each tensor counted once."""
        held: dict[int, int] = {}
        for context in self.used():
            tensors = [context.score]
            for slot in context.slots:
                tensors += [slot.fresh, *slot.history]
            for tensor in tensors:
                if tensor is not None:
                    storage = tensor.untyped_storage()
                    held[storage.data_ptr()] = storage.nbytes()
        return sum(held.values())
