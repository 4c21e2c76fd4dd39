"""A guide: knows where the converged solution passes, and lets runs of few steps follow it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from frdiff.engines import Engine, in_order
from frdiff.policy import RangePolicy, TablePolicy, loads
from frdiff.policy.checks import check_float, check_int, checked_list
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure, digest_of
from frdiff.search.schedules.spread import Spread, ranked_spreads
from frdiff.search.subject import Batch, Job, Subject
from frdiff.search.weights.follow import Followed, Outset, Path, follow, outset_of
from frdiff.setting import Setting

__all__ = ["Guide", "followed"]

TRIES = 14
MEASURED = 3
ALIKE = 2  # digits of the logarithm of a noise level


def followed(batches: Sequence[Batch]) -> list[Batch]:
    """The batches whose paths are followed: the first one at each guidance."""
    first = {batch.guidance: batch for batch in reversed(batches)}
    return [first[guidance] for guidance in sorted(first, key=lambda scale: scale or 0.0)]


@dataclass(frozen=True)
class _Follower:
    """A policy for the steps and the solver of a setting, and by how much it misses the path."""

    start: Setting
    policy: TablePolicy | RangePolicy
    missed: float


@dataclass
class Guide:
    """Knows where the converged solution passes, and lets runs of few steps follow it.

    Attributes:
        notes: keeps what was found, across runs too.
        batches: whose samples are followed: one batch, or one for each guidance scale, rising.
        engine: what follows.
        spent: steps that following took, times samples.
    """

    subject: Subject
    notes: Journal
    batches: Sequence[Batch]
    engine: Engine[Job, Any]
    spent: float = 0.0
    _paths: dict[int, Path | None] = field(default_factory=dict)

    def remember(self, batch: Batch, path: Path | None) -> None:
        """Where the converged solution of a batch passes; None where that is not known."""
        self._paths[self.batches.index(batch)] = path

    def settings(self, rivals: Sequence[Setting], measure: Measure) -> list[Setting]:
        """Settings that follow, worth measuring: those that end nearest to the path, and the own.

        On the noise levels of the best rival, and on others (`frdiff.search.schedules.spread`)
        between the widest ends of any rival; what else the solver is matters little.

        Args:
            rivals: the pipeline with fewer steps, by solver, the best first. Of several numbers of
                steps the most are taken.
            measure: of the samples that are followed.
        """
        steps = max((rival.steps for rival in rivals), default=0)
        starts = [rival for rival in rivals if rival.steps == steps]
        question = f"following {len(self.batches)} of " + " ".join(map(digest_of, starts))
        if question not in self.notes:
            found = self._found(starts, measure)
            texts = [[starts.index(one.start), one.policy.dumps()] for one in found]
            self.notes[question] = [self.spent, texts]
        self.spent, entries = checked_list(
            "what was followed, in the journal", self.notes[question]
        )
        check_float("what following took", self.spent, 0, 1e9)
        settings = []
        for entry in checked_list("tables in the journal", entries):
            number, text = checked_list("a table in the journal", entry)
            check_int("the number of a rival in the journal", number, 0, len(starts) - 1)
            settings.append(replace(starts[number], policy=loads(text)))
        return settings

    def _found(self, starts: Sequence[Setting], measure: Measure) -> list["_Follower"]:
        if not measure.true or None in self._paths.values():
            return []
        outsets = [(start, self._outset(start)) for start in starts]
        known = [(start, outset) for start, outset in outsets if outset is not None]
        if not known:
            return []
        start, outset = known[0]
        (own,) = self._followers(start, outset, [outset.levels])
        found = self._spread(known)[:MEASURED]
        return found if own is None else [*found, own]

    def _spread(self, known: Sequence[tuple[Setting, Outset]]) -> list["_Follower"]:
        """Followers on noise levels that may be laid, the least miss first."""
        free = [(start, outset) for start, outset in known if outset.takes_levels]
        if not free:
            return []
        start, outset = min(free, key=lambda one: round(one[1].levels[-1], ALIKE))
        found: dict[Spread, _Follower] = {}

        def misses(spreads: Sequence[Spread]) -> list[float]:
            laid = [spread.levels(outset.levels) for spread in spreads]
            followers = self._followers(start, outset, laid)
            pairs = zip(spreads, followers, strict=True)
            found.update({spread: one for spread, one in pairs if one is not None})
            return [math.inf if one is None else one.missed for one in followers]

        return [found[spread] for spread in ranked_spreads(misses, TRIES)]

    def _outset(self, start: Setting) -> Outset | None:
        batch = self._part(0)
        self.spent += len(batch.prompts)
        return outset_of(self.subject, start, batch)

    def _followers(
        self, start: Setting, outset: Outset, laid: Sequence[Sequence[float]]
    ) -> list["_Follower | None"]:
        """What follows on each of some noise levels; None where nothing does."""
        parts = [self._part(number) for number in range(len(self.batches))]
        paths = [path for path in map(self._paths.get, range(len(parts))) if path is not None]
        if len(paths) < len(parts):
            return [None] * len(laid)
        jobs = [
            partial(
                follow,
                setting=start,
                outset=outset,
                levels=levels,
                batch=part,
                path=path,
            )
            for levels in laid
            for part, path in zip(parts, paths, strict=True)
        ]
        found = in_order(self.engine(jobs))
        return [self._follower(start, parts, [next(found) for _ in parts]) for _ in laid]

    def _follower(
        self, start: Setting, parts: Sequence[Batch], found: Sequence[Followed | None]
    ) -> "_Follower | None":
        for part, one in zip(parts, found, strict=True):
            if one is None:
                return None
            self.spent += one.table.num_steps * len(part.prompts)
        followed = [one for one in found if one is not None]
        scales = [batch.guidance for batch in self.batches if batch.guidance is not None]
        tables = _alike([one.table for one in followed])
        policy = tables[0] if len(tables) == 1 else RangePolicy(scales, tables)
        return _Follower(start, policy, float(np.mean([one.missed for one in followed])))

    def _part(self, number: int) -> Batch:
        """The samples of the first call of a batch."""
        batch, size = self.batches[number], self.subject.per_call
        return batch if size is None else batch.part(0, size)


def _alike(tables: list[TablePolicy]) -> list[TablePolicy]:
    """The tables with guidance weights of 0 where others have some: at scale 1 nothing guides."""
    if not any(table.guidance_weights for table in tables):
        return tables
    return [
        replace(table, guidance_weights=table.guidance_weights or [0.0] * table.num_steps)
        for table in tables
    ]
