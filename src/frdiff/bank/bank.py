"""The bank: features and scores of the last keyframes, by target and context.

A context is one denoiser call within a step. When guidance runs as two calls, the first call of
every step is one context and the second another, and what one stores the other never sees. That
holds for any pipeline or hand-written loop, without names given by the caller. Where some steps
make fewer calls than others, a call's context is the one whose inputs it repeats: a prompt stands
still from step to step.

Nothing here decides anything. The forwards of patched modules, which `torch.compile` may trace,
only read `history` and write `fresh`; everything else happens between steps.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from frdiff.bank.forecast import extrapolation_weights
from frdiff.bank.shelf import Shelf
from frdiff.network.calls import same_memory, tensors_within
from frdiff.plan import Action, Step
from frdiff.storage import PLAIN, Keeping

__all__ = ["Bank", "Context"]

CONTEXTS = 32


class Context:
    """What one denoiser call per step has stored.

    Attributes:
        shelves: one per group of targets.
        scores: a shelf for the raw scores of the last keyframes; nothing if the policy never
            needs them.
        outline: of the arguments of the last keyframe: features fit only a call with the same.
        ready: whether the last keyframe of the run was stored here.
        example: arguments of the last call, from which its cost is counted.
        inputs: the tensors among them, as of the last step that called.
        still: which of them have been the same memory in all calls; empty before the second.
        halved: whether its sample has both halves of guidance; None before that was asked.
        took: what a call of the current step did where that is not what its step does; a first
            call on a step of halves is computed, and others follow it.
        called: whether the current step called here.
        stored: whether it ran in full.
        next: the context of the next call in the same step.
    """

    def __init__(
        self, groups: Sequence[int], depth: int, score_depth: int, keeping: Keeping = PLAIN
    ) -> None:
        self.next = self
        self.shelves = [Shelf(count, depth, keeping) for count in groups]
        self.scores = Shelf(1 if score_depth else 0, score_depth)
        self.clear()

    def clear(self) -> None:
        """Forget everything stored."""
        for shelf in (*self.shelves, self.scores):
            shelf.clear()
        self.outline: Any = None
        self.ready = False
        self.example: tuple[tuple, dict[str, Any]] = (), {}
        self.inputs: tuple[Tensor, ...] = ()
        self.still: tuple[bool, ...] = ()
        self.called = self.stored = False
        self.halved: bool | None = None
        self.took: Action | None = None

    def expire(self) -> None:
        """Forget what is stored, but not whose it was: it is too old to be reused."""
        inputs, still = self.inputs, self.still
        self.clear()
        self.inputs, self.still = inputs, still

    def likeness(self, inputs: tuple[Tensor, ...]) -> int:
        """How many of these inputs are as in the call before; -1 if one is not that stood still.

        An input that is made anew for every call tells nothing.
        """
        if len(inputs) != len(self.inputs):
            return -1
        same = [same_memory(new, old) for new, old in zip(inputs, self.inputs, strict=True)]
        if any(still and not now for still, now in zip(self.still, same, strict=False)):
            return -1
        return sum(same)

    def resembles(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether something in a call has the contents that it had in the only call before."""
        return any(torch.equal(new, old) for new, old in zip(inputs, self.inputs, strict=True))

    def remember(self) -> None:
        """Take the inputs of the step that called here."""
        inputs = tuple(tensors_within(self.example))
        if len(inputs) == len(self.inputs):
            before = self.still or [True] * len(inputs)
            rows = zip(inputs, self.inputs, before, strict=True)
            self.still = tuple(stood and same_memory(new, old) for new, old, stood in rows)
        else:
            self.still = ()
        self.inputs, self.example = inputs, ((), {})
        self.called, self.took = False, None

    def own(self) -> None:
        """Copy what a compiled call stored: the memory that it lies in may be its graph's."""
        for shelf in self.shelves:  # scores are stored outside of graphs, as copies
            for slot in shelf.slots:
                slot.copy_out()

    def fits(self, outline: Any) -> bool:
        """Whether what is stored here belongs to arguments with this outline."""
        return self.ready and self.outline == outline

    def commit(self, coordinate: float) -> None:
        """Move what this step stored into the histories."""
        for shelf in (*self.shelves, self.scores):
            shelf.commit(coordinate)
        self.ready |= self.stored
        self.stored = False

    def holds(self) -> bool:
        """Whether anything is stored here."""
        return self.stored or any(shelf.nodes for shelf in (*self.shelves, self.scores))


class Bank:
    """The contexts of one denoiser, in the order of its calls within a step.

    Args:
        groups: number of targets in each group.
        depth: steps kept per target.
        score_depth: keyframes whose scores are kept.
        order: of the extrapolation, at most depth - 1; it takes one stored step more.
        keeping: how features are held; scores are as they are.
    """

    def __init__(
        self,
        groups: Sequence[int],
        depth: int,
        score_depth: int = 0,
        order: int | None = None,
        keeping: Keeping = PLAIN,
    ) -> None:
        self.taken = depth if order is None else order + 1
        self._sizes = groups, depth, score_depth, keeping
        self.contexts: list[Context] = []
        self._reach = 0  # how many of them were called in a run; 0 if that is not known
        # What is called when no other is left: it comes after itself.
        self.overflow = Context(*self._sizes)
        self.grow()

    def grow(self) -> None:
        """Make twice as many contexts as there are.

        All are linked, so that a traced forward only ever follows `next`.
        """
        self.contexts += [Context(*self._sizes) for _ in range(max(CONTEXTS, len(self.contexts)))]
        self.link(len(self.contexts))

    def link(self, count: int) -> None:
        """Let the first `count` contexts follow one another, and the overflow the last of them."""
        chain = [*self.contexts[:count], self.overflow]
        for context, following in pairwise(chain):
            context.next = following

    def clear(self) -> None:
        """Forget everything, and leave room for twice as many calls as there ever were."""
        known = sum(bool(context.inputs) for context in self.contexts)
        for context in (*self.contexts, self.overflow):
            if context.inputs or context.called or context.holds():
                context.clear()
        if 2 * known > len(self.contexts):
            self.grow()
        self.link(len(self.contexts))
        self._reach = 0

    def called(self) -> list[Context]:
        """The contexts called in the current step, in order."""
        found = [context for context in (*self.contexts, self.overflow) if context.called]
        if found and found[-1] is not self.overflow:
            self._reach = max(self._reach, self.contexts.index(found[-1]) + 1)
        return found

    def context_of(self, inputs: tuple[Tensor, ...], expected: Context, tells: bool) -> Context:
        """The context of a call with these inputs: the expected one, or one that is more alike.

        Args:
            tells: whether there are inputs beside a sample and its time, so that contents tell
                where the memory that they lie in does not. That waits for the device, but happens
                once in a run, at most.
        """
        free = [context for context in self.contexts if not context.called]
        rows = [(row.likeness(inputs), row) for row in (expected, *free) if row.inputs]
        likeness, best = max(rows, key=lambda row: row[0], default=(-1, expected))
        if likeness < 0 and expected.inputs:
            return next((context for context in free if not context.inputs), self.overflow)
        if likeness == 0 and tells and not best.still and not best.resembles(inputs):
            best.expire()
        return best

    def misplaced(self, called: Context) -> bool:
        """Whether a call was made in one context though its inputs are those of another."""
        inputs = tuple(tensors_within(called.example))
        others = (context for context in self.contexts if context.inputs and not context.called)
        return called.likeness(inputs) < 0 and any(row.likeness(inputs) > 0 for row in others)

    def used(self) -> list[Context]:
        """The contexts that hold something."""
        within = self.contexts[: self._reach] or self.contexts
        return [context for context in (*within, self.overflow) if context.holds()]

    def commit(self, coordinate: float, keyframe: bool) -> None:
        """Take what the contexts stored in a step into their histories.

        Args:
            coordinate: of the step.
            keyframe: whether it was one by plan. Contexts that were not called then, such as
                those of a denoiser that has handed over to another, are too old to reuse.
        """
        for context in self.called():
            context.remember()
        for context in self.used():
            if keyframe and context.ready and not context.stored:
                context.expire()
            else:
                context.commit(coordinate)

    def make_room(self, groups: Iterable[int], score: bool) -> None:
        """Drop the oldest step of `groups`, and the oldest score: the next step stores others."""
        for context in self.used():
            for group in groups:
                context.shelves[group].make_room()
            if score:
                context.scores.make_room()

    def aim(self, coordinate: float, step: Step) -> None:
        """Set the weights that a step at `coordinate` reads, in every context."""
        for context in self.used():
            for group, shelf in enumerate(context.shelves):
                if step.action is not Action.REUSE or group in step.computed:
                    continue
                fitted = step.forecast_weights[group] if step.forecast_weights else ()
                # Weights for more steps than are there: the context began anew in between.
                if 0 < len(fitted) <= len(shelf.nodes):
                    shelf.aim(fitted)
                else:
                    shelf.aim(extrapolation_weights(shelf.nodes[: self.taken], coordinate))
            kept = context.scores.nodes
            if not step.score_weights:
                context.scores.aim(extrapolation_weights(kept[: self.taken], coordinate))
            else:
                own = step.action is Action.KEYFRAME
                fits = len(step.score_weights) <= max(len(kept) + own, 1)
                context.scores.aim(step.score_weights if fits else (1.0,))
            if step.checked:
                context.scores.check(self.taken - 1)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is stored on the device."""
        held = self.held()
        return held.total() - held["host"]

    def held(self) -> Counter[str]:
        """Bytes of all that is stored, each tensor counted once, by how it is held.

        That is "scores", and features by the name of their way; those in the memory of the host
        are "host", and what they are forecast to be "forecast".
        """
        found: dict[int, tuple[str, int]] = {}
        for context in self.used():
            rows = [part for shelf in context.shelves for part in shelf.parts()]
            rows += [("scores", tensor) for tensor in context.scores.tensors()]
            for way, tensor in rows:
                storage = tensor.untyped_storage()
                found[storage.data_ptr()] = way, storage.nbytes()
        ways: Counter[str] = Counter()
        for way, size in found.values():
            ways[way] += size
        return ways
