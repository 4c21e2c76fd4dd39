"""How the features of the last keyframes are held together: the newest, and changes before it.

A forecast leans on how features change, so it amplifies what is rounded away of older ones: with
weights `1 + k` and `-k` by `k`. What changes from one keyframe to the next is smaller than the
features are, and so is what is lost of it; hence where older features are held in other ways than
the newest, their changes are, each from the next newer as that is held, so that nothing adds up.
"""

from collections.abc import Sequence

from torch import Tensor

from frdiff.storage.ways import Chain, Kind, nbytes_of

__all__ = ["PLAIN", "Keeping", "Parts"]

Parts = tuple[Tensor, ...]
"""One feature of one keyframe, as it is held."""


class Keeping:
    """How one feature is held over the last keyframes.

    Args:
        newest: of the last keyframe.
        change: of how those before it differ from the next newer; None holds them as they were
            when they were the newest.
        offloads: whether all is held in the memory of the host between steps.
    """

    def __init__(
        self, newest: Chain, change: Chain | None = None, *, offloads: bool = False
    ) -> None:
        self.newest = newest
        self.change = change
        self.offloads = offloads

    def begun(self, feature: Tensor) -> Parts:
        """A new feature."""
        return self.newest.store(feature)

    def followed(self, held: Parts, newer: Parts, kind: Kind) -> Parts:
        """What is held of the newest feature so far, now that another is newer."""
        if self.change is None:
            return held
        change = self.newest.restore(newer, kind) - self.newest.restore(held, kind)
        return self.change.store(change)

    def without(self, rows: Sequence[Parts], place: int, kind: Kind) -> list[Parts]:
        """Rows, newest first, without one that is not the first."""
        kept = [*rows[:place], *rows[place + 1 :]]
        if self.change is not None and place + 1 < len(rows):
            pair = [self.change.restore(rows[at], kind) for at in (place, place + 1)]
            newer, older = pair
            kept[place] = self.change.store(newer + older)
        return kept

    def values(self, rows: Sequence[Parts], kind: Kind) -> tuple[Tensor, ...]:
        """The features, newest first."""
        found = [self.newest.restore(rows[0], kind)]
        for row in rows[1:]:
            if self.change is None:
                found.append(self.newest.restore(row, kind))
            else:
                found.append(found[-1] - self.change.restore(row, kind))
        return tuple(found)

    def nbytes(self, kind: Kind, count: int) -> int:
        """Bytes of a feature of the last `count` keyframes, all of them on one device."""
        change = self.newest if self.change is None else self.change
        return nbytes_of(self.newest, kind) + (count - 1) * nbytes_of(change, kind)

    def nbytes_here(self, kind: Kind, count: int) -> int:
        """The same where it is offloaded: what a keyframe makes, or a forecast of it."""
        made = self.nbytes(kind, 1 if self.change is None else min(count, 2))
        return max(made, kind.nbytes)


PLAIN = Keeping(Chain())
