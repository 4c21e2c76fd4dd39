"""Slots: what a bank holds of one target in one context.

Features of the last keyframes, newest first, held in the way that the policy says (see
`frdiff.storage`); with them what a target's stand-in has to know of its last keyframe.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from frdiff.storage import PLAIN, Keeping, Kind, Parts

__all__ = ["HostRow", "Row", "Slot"]

Row = tuple[Parts, ...]
"""All features of one keyframe, as they are held."""


class HostRow(tuple[Parts, ...]):
    """A row in the memory of the host."""

    __slots__ = ()


class Slot:
    """The features of one target in one context, one per stream.

    Args:
        keeping: how they are held.

    Attributes:
        fresh: stored in the current step, not yet part of the history, as they are held.
        followed: what is held of the newest features of the history, now that these are newer;
            none where that stays as it is.
        history: features of the steps at `nodes`, newest first, as they are held. Where all are
            held alike there are always as many as the bank is deep once filled (the oldest
            repeated), so that a compiled graph sees one structure.
        kinds: of all features of the history.
        devices: where the features belong, of a history that is offloaded.
        forecast: features of the current step, of such a history.
        news: of those stored in the current step; none where they are held as they are.
        turns: of every time that the target ran in one pass (a layer may serve two streams in
            turn), the form of what it returned (see `frdiff.network.trees`) and which features
            are its.
        idle: by number, the form, shapes and types of what the target's idle modules returned.
        noted: the form, shapes and types of what the target itself returned, where it is stored
            together with others or not at all.
        own: the features of the first target of a run, while that is computed.
        anchors: what a run adds to, while it is computed.
    """

    __slots__ = (
        "anchors",
        "devices",
        "followed",
        "forecast",
        "fresh",
        "history",
        "idle",
        "keeping",
        "kinds",
        "news",
        "noted",
        "own",
        "turns",
    )

    def __init__(self, keeping: Keeping = PLAIN) -> None:
        self.keeping = keeping
        self.clear()

    def clear(self) -> None:
        """Forget everything stored."""
        self.fresh: Row | None = None
        self.followed: Row = ()
        self.history: tuple[Row, ...] = ()
        self.kinds: tuple[Kind, ...] = ()
        self.news: tuple[Kind, ...] = ()
        self.devices: tuple[torch.device, ...] = ()
        self.forecast: tuple[Tensor, ...] | None = None
        self.turns: list[tuple[Any, int, int]] = []
        self.idle: dict[int, Any] = {}
        self.noted: tuple[Any, list[tuple[torch.Size, torch.dtype]]] | None = None
        self.own: tuple[Tensor, ...] = ()
        self.anchors: tuple[Tensor, ...] = ()

    def store(self, form: Any, features: tuple[Tensor, ...]) -> None:
        """Take what the target returned in this step, the first time or once more."""
        if self.fresh is None:
            self.fresh, self.followed, self.news, self.turns = (), (), (), []
        begin = len(self.fresh)
        end = begin + len(features)
        fresh = tuple(map(self.keeping.begun, features))
        # A compiled graph that stores features as they are knows nothing of those before.
        if self.keeping is not PLAIN:
            kinds = tuple(map(Kind.of, features))
            self.news += kinds
            if self.keeping.change is not None and self.history and self.kinds[begin:end] == kinds:
                held = self.history[0][begin:end]
                if self.keeping.offloads:
                    held = _moved(held, [feature.device for feature in features])
                rows = zip(held, fresh, kinds, strict=True)
                self.followed += tuple(self.keeping.followed(*row) for row in rows)
                if self.news == self.kinds:
                    self.history = ((), *self.history[1:])  # no step holds both
        self.fresh += fresh
        self.turns.append((form, begin, end))

    @property
    def breaks(self) -> bool:
        """Whether what was stored in this step does not go on from what was before."""
        return bool(self.history) and self.kinds != self._news()

    def _news(self) -> tuple[Kind, ...]:
        """The kinds of what was stored in this step."""
        return self.news or tuple(Kind.of(whole) for whole, *_ in self.fresh or ())

    def commit(self, place: int | None, count: int, depth: int) -> None:
        """Take what was stored into the history.

        Args:
            place: of the step in the history that it takes the place of; None of none.
            count: steps to keep.
            depth: how many are kept at most.
        """
        if self.fresh is None:
            self.history = ()
            return
        rows = [self.fresh]
        if self.history and not self.breaks:
            rows += [self.followed or self.history[0], *self.history[1:]]
        self.kinds = self._news()
        self.devices = tuple(parts[0].device for parts in self.fresh)
        self.fresh, self.followed, self.news = None, (), ()
        if place is not None and place + 1 < len(rows):
            if self.keeping.offloads:  # nobody waits for what is on its way to the host
                rows = [_moved(row, self.devices) for row in rows]
            columns = zip(zip(*rows, strict=True), self.kinds, strict=True)
            kept = [self.keeping.without(parts, place + 1, kind) for parts, kind in columns]
            rows = list(zip(*kept, strict=True))
        rows = rows[:count]
        if self.keeping.change is None and not self.keeping.offloads:
            # Padding has weight 0. A second tensor on the same memory, since a compiled graph
            # made for one tensor given twice would not serve two different ones later.
            rows += [_twins(rows[-1]) for _ in range(depth - len(rows))]
        self.history = tuple(rows)

    def copy_out(self) -> None:
        """Copy what was stored: the memory that it lies in may be a compiled graph's."""
        if self.fresh is not None:
            self.fresh = _copies(self.fresh)
        self.followed = _copies(self.followed)

    def values(self, begin: int, end: int) -> tuple[tuple[Tensor, ...], ...]:
        """Features `begin` to `end` of the history, step by step, newest first."""
        rows = [row[begin:end] for row in self.history]
        if self.keeping.offloads:
            rows = [_moved(row, self.devices[begin:end]) for row in rows]
        return self._values(rows, self.kinds[begin:end])

    def change(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What is stored in this step, and what was in the step before."""
        earlier = self.followed or self.history[0]
        if self.keeping.offloads:
            earlier = _moved(earlier, self.devices)
        rows = [self.fresh or (), earlier]
        newest, before = self._values(rows, self.kinds)
        return newest, before

    def stored(self) -> tuple[Tensor, ...]:
        """What is stored in this step; of features that are held as they are."""
        return tuple(parts[0] for parts in self.fresh or ())

    def _values(self, rows: Sequence[Row], kinds: Sequence[Kind]) -> tuple[tuple[Tensor, ...], ...]:
        if self.keeping is PLAIN:
            return tuple(tuple(whole for (whole,) in row) for row in rows)
        columns = [
            self.keeping.values(parts, kind)
            for parts, kind in zip(zip(*rows, strict=True), kinds, strict=True)
        ]
        return tuple(zip(*columns, strict=True))


def _moved(row: Row, devices: Sequence[torch.device]) -> Row:
    """A row where its features belong."""
    return tuple(
        tuple(part.to(device, non_blocking=True) for part in parts)
        for parts, device in zip(row, devices, strict=True)
    )


def _copies(row: Row) -> Row:
    return tuple(tuple(part.clone() for part in parts) for parts in row)


def _twins(row: Row) -> Row:
    """Other tensors on the same memory."""
    return tuple(tuple(part.detach() for part in parts) for parts in row)
