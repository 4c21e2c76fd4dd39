"""Shelves: rows of slots that are filled together and read with the same weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from frdiff.bank.forecast import combine, extrapolation_weights, trust
from frdiff.bank.slot import HostRow, Slot
from frdiff.policy.checks import sums_to_one
from frdiff.storage import PLAIN, Keeping, on_host, to_host

__all__ = ["Shelf", "scalars"]


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

    def __init__(self, count: int, depth: int, keeping: Keeping = PLAIN) -> None:
        self.slots = [Slot(keeping) for _ in range(count)]
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
        if slot.forecast is not None:
            return form, tuple(feature.clone() for feature in slot.forecast[begin:end])
        history = slot.values(begin, end)
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
            return tuple(feature * first for feature in slot.stored())
        history = slot.values(0, len(slot.fresh))
        return self._combined((slot.stored(), *history), self.weights, self.gain)

    @staticmethod
    def _combined(
        history: tuple[tuple[Tensor, ...], ...], weights: Tensor, gain: Tensor | None
    ) -> tuple[Tensor, ...]:
        # Streams may differ in type, and lie on several devices.
        if len(history) < len(weights):
            weights = weights[: len(history)]
        return tuple(
            combine(stream, weights.to(stream[0]), None if gain is None else gain.to(stream[0]))
            for stream in zip(*history, strict=True)
        )

    def commit(self, coordinate: float) -> None:
        """Move what this step stored into the history, dropping what is older than `depth`."""
        stored = [slot for slot in self.slots if slot.fresh is not None]
        if not stored:
            return
        place = None
        if any(slot.breaks for slot in stored):
            self.nodes = []
        # Second-order solvers evaluate twice at one noise level; the newer evaluation stays.
        elif coordinate in self.nodes:
            place = self.nodes.index(coordinate)
            self.nodes.pop(place)
        self.nodes = [coordinate, *self.nodes][: self.depth]
        for slot in self.slots:
            slot.commit(place, len(self.nodes), self.depth)
        (first, *_), kind = stored[0].history[0], stored[0].kinds[0]
        self._like = first[0].new_empty(0, dtype=kind.dtype)
        if self._offloads:
            self._unload()

    @property
    def _offloads(self) -> bool:
        """Whether histories are in the memory of the host, and that is another one."""
        keeps = self._like is not None and self.slots[0].keeping.offloads
        return keeps and self._like is not None and not on_host(self._like.device)

    def _unload(self) -> None:
        """Move what is not there yet into the memory of the host, row by row."""
        for at in range(self.depth):
            slots = [slot for slot in self.slots if at < len(slot.history)]
            moving = [slot for slot in slots if not isinstance(slot.history[at], HostRow)]
            parts = [part for slot in moving for held in slot.history[at] for part in held]
            copies = iter(to_host(parts))
            for slot in moving:
                row = HostRow(tuple(next(copies) for _ in held) for held in slot.history[at])
                slot.history = (*slot.history[:at], row, *slot.history[at + 1 :])

    def make_room(self) -> None:
        """Keep one step fewer than `depth`: the next step stores another."""
        self.nodes = self.nodes[: self.depth - 1]
        for slot in self.slots:
            slot.history = slot.history[: self.depth - 1]
            slot.forecast = None

    def aim(self, weights: Sequence[float]) -> None:
        """Set the weights of what is kept, newest first; those left out are 0."""
        if self._like is not None:
            self.weights = scalars([*weights, *[0.0] * (self.depth - len(weights))], self._like)
            free = not sums_to_one(weights)
            self.gain = scalars([sum(weights)], self._like)[0] if free else None
            for slot in self.slots if self._offloads else ():
                # One after another: the whole history is never here.
                rows = slot.values(0, len(slot.kinds)) if slot.history else ()
                if rows and slot.keeping.change is None:
                    rows += rows[-1:] * (self.depth - len(rows))  # rounded as it is elsewhere
                slot.forecast = self._combined(rows, self.weights, self.gain) if rows else None

    def check(self, order: int) -> None:
        """Take of an extrapolation of this order what the newest step bears out; of one slot.

        Where there are too few steps to tell, nothing.
        """
        history = self.slots[0].values(0, len(self.slots[0].kinds)) if self.nodes else ()
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
        return (tensor for _, tensor in self.parts())

    def parts(self) -> Iterator[tuple[str, Tensor]]:
        """Everything held, and the way in which it is."""
        for slot in self.slots:
            newest = slot.keeping.newest.name
            older = newest if slot.keeping.change is None else slot.keeping.change.name
            rows = [(newest, slot.fresh or ()), (older, slot.followed)]
            for at, row in enumerate(slot.history):
                way = older if at else newest
                rows.append(("host" if isinstance(row, HostRow) else way, row))
            rows.append(("forecast", (slot.forecast or (),)))
            yield from ((way, part) for way, row in rows for parts in row for part in parts)


def scalars(values: list[float], like: Tensor) -> Tensor:
    """A tensor of `values`, of the type and on the device of `like`.

    Filled on the device: a copy from the host would wait for all the work queued there.
    """
    fill = [torch.full((), value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(fill)
