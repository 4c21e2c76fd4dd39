"""Slots and shelves: what a bank holds of one context, and what a step takes of it.

Slots keep the features of one target each, newest first; a shelf is a row of slots that are filled
together and read with the same weights.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from frdiff.forecast import combine, extrapolation_weights, trust
from frdiff.policy.checks import sums_to_one

__all__ = ["Shelf", "Slot", "scalars"]


class Slot:
    """The features of one target in one context, one per stream.

    Attributes:
        fresh: stored in the current step, not yet part of the history.
        history: features of the steps at `nodes`, newest first; always as many as the bank is
            deep once filled (the oldest repeated), so that a compiled graph sees one structure.
        turns: of every time that the target ran in one pass (a layer may serve two streams in
            turn), the form of what it returned (see `frdiff.trees`) and which features are its.
        idle: by number, the form, shapes and types of what the target's idle modules returned.
        noted: the form, shapes and types of what the target itself returned, where it is stored
            together with others or not at all.
        own: the features of the first target of a run, while that is computed.
        anchors: what a run adds to, while it is computed.
    """

    __slots__ = ("anchors", "fresh", "history", "idle", "noted", "own", "turns")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything stored."""
        self.fresh: tuple[Tensor, ...] | None = None
        self.history: tuple[tuple[Tensor, ...], ...] = ()
        self.turns: list[tuple[Any, int, int]] = []
        self.idle: dict[int, Any] = {}
        self.noted: tuple[Any, list[tuple[torch.Size, torch.dtype]]] | None = None
        self.own: tuple[Tensor, ...] = ()
        self.anchors: tuple[Tensor, ...] = ()

    def store(self, form: Any, features: tuple[Tensor, ...]) -> None:
        """Take what the target returned in this step, the first time or once more."""
        if self.fresh is None:
            self.fresh, self.turns = (), []
        begin = len(self.fresh)
        self.fresh = self.fresh + features
        self.turns.append((form, begin, len(self.fresh)))

    def fits(self, fresh: tuple[Tensor, ...]) -> bool:
        """Whether features have the shapes of those in the history."""
        return not self.history or _shapes(self.history[0]) == _shapes(fresh)


class Shelf:
    """Slots that are filled together: the targets of one group, or the score.

    Attributes:
        slots: one per target.
        depth: how many steps are kept.
        nodes: coordinates of the steps in the slots' histories, newest first.
        weights: in the current step, shape (depth,), of the history; with what the step itself
            stores as the first where that is blended.
        gain: what they sum to; None for 1.
        trusts: in the current step, the share of the extrapolation that is taken, for every
            feature of the first slot; None takes all of it.
        held_back: of what could be checked in the current step, the share that is not taken, on
            average; None where nothing could.
    """

    def __init__(self, count: int, depth: int) -> None:
        self.slots = [Slot() for _ in range(count)]
        self.depth = depth
        self.clear()

    def clear(self) -> None:
        """Forget everything stored."""
        for slot in self.slots:
            slot.clear()
        self.nodes: list[float] = []
        self.weights: Tensor | None = None
        self.gain: Tensor | None = None
        self.trusts: tuple[Tensor, ...] | None = None
        self.held_back: Tensor | None = None
        self._like: Tensor | None = None

    def value(self, place: int, turn: int = 0) -> tuple[Any, tuple[Tensor, ...]] | None:
        """What slot `place` is forecast to hold at this step: form and features.

        None if it was never filled. The features are nobody else's: whoever gets them may change
        them in place.

        Args:
            turn: how often its target ran before in this pass.
        """
        slot = self.slots[place]
        if self.weights is None or not slot.history or turn >= len(slot.turns):
            return None
        form, begin, end = slot.turns[turn]
        history = tuple(features[begin:end] for features in slot.history)
        if len(history) == 1 and self.gain is None:
            return form, tuple(feature.clone() for feature in history[0])
        value = self._combined(history, self.weights, self.gain)
        if self.trusts is None:
            return form, value
        newest = self._combined(history[:1], self.weights[:1], self.gain)
        parts = zip(newest, value, self.trusts[begin:end], strict=True)
        return form, tuple(torch.lerp(*part) for part in parts)

    def holds(self, place: int) -> bool:
        """Whether slot `place` has a value."""
        return self.weights is not None and bool(self.slots[place].history)

    def blended(self, place: int, first: float = 1.0) -> tuple[Tensor, ...] | None:
        """What slot `place` stored in this step, weighed with its history; None if nothing was.

        Args:
            first: the weight of what is stored first of all.
        """
        slot = self.slots[place]
        if slot.fresh is None:
            return None
        if self.weights is None:
            return tuple(feature * first for feature in slot.fresh)
        return self._combined((slot.fresh, *slot.history), self.weights, self.gain)

    @staticmethod
    def _combined(
        history: tuple[tuple[Tensor, ...], ...], weights: Tensor, gain: Tensor | None
    ) -> tuple[Tensor, ...]:
        # Streams may differ in type, and lie on several devices.
        return tuple(
            combine(stream, weights.to(stream[0]), None if gain is None else gain.to(stream[0]))
            for stream in zip(*history, strict=True)
        )

    def commit(self, coordinate: float) -> None:
        """Move what this step stored into the history, dropping what is older than `depth`."""
        fresh = [slot.fresh for slot in self.slots]
        if all(new is None for new in fresh):
            return
        if any(
            new is not None and not slot.fits(new)
            for slot, new in zip(self.slots, fresh, strict=True)
        ):
            self.nodes = []
        # Second-order solvers evaluate twice at one noise level; the newer evaluation stays.
        elif coordinate in self.nodes:
            place = self.nodes.index(coordinate)
            self.nodes.pop(place)
            for slot in self.slots:
                slot.history = slot.history[:place] + slot.history[place + 1 :]
        self.nodes = [coordinate, *self.nodes][: self.depth]
        for slot, new in zip(self.slots, fresh, strict=True):
            kept = () if new is None else (new, *slot.history)[: len(self.nodes)]
            # Padding has weight 0. A second tensor on the same memory, since a compiled graph
            # made for one tensor given twice would not serve two different ones later.
            missing = self.depth - len(kept)
            slot.history = kept + tuple(_twins(kept[-1]) for _ in range(missing) if kept)
            slot.fresh = None
            if kept:
                self._like = kept[0][0].new_empty(0)

    def make_room(self) -> None:
        """Keep one step fewer than `depth`: the next step stores another."""
        self.nodes = self.nodes[: self.depth - 1]
        for slot in self.slots:
            slot.history = slot.history[: self.depth - 1]

    def aim(self, weights: Sequence[float]) -> None:
        """Set the weights of what is kept, newest first; those left out are 0."""
        if self._like is not None:
            self.weights = scalars([*weights, *[0.0] * (self.depth - len(weights))], self._like)
            free = not sums_to_one(weights)
            self.gain = scalars([sum(weights)], self._like)[0] if free else None

    def check(self, order: int) -> None:
        """Take of an extrapolation of this order what the newest step bears out; of one slot.

        Where there are too few steps to tell, nothing.
        """
        history = self.slots[0].history
        self.trusts = self.held_back = None
        if len(self.nodes) >= order + 2:
            weights = extrapolation_weights(self.nodes[1 : order + 2], self.nodes[0])
            earlier = history[1 : order + 2]
            foretold = self._combined(earlier, scalars(weights, earlier[0][0]), None)
            rows = zip(*history[:2], foretold, strict=True)
            self.trusts = tuple(trust(*row) for row in rows)
            self.held_back = 1 - torch.stack([one.float().mean() for one in self.trusts]).mean()
        elif history:
            # Of the shape that it will have: a compiled graph sees one.
            self.trusts = tuple(trust(new, new, new) * 0 for new in history[0])

    def tensors(self) -> Iterator[Tensor]:
        """Everything held."""
        for slot in self.slots:
            yield from slot.fresh or ()
            for features in slot.history:
                yield from features


def _shapes(features: tuple[Tensor, ...]) -> list[torch.Size]:
    return [feature.shape for feature in features]


def _twins(features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Other tensors on the same memory."""
    return tuple(feature.detach() for feature in features)


def scalars(values: list[float], like: Tensor) -> Tensor:
    """A tensor of `values`, of the type and on the device of `like`.

    Filled on the device: a copy from the host would wait for all the work queued there.
    """
    fill = [torch.full((), value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(fill)
