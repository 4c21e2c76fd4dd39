"""A guide: knows where the converged solution passes, and lets runs of few steps follow it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frdiff.policy import RangePolicy, TablePolicy, loads
from frdiff.policy.checks import check_float, checked_list
from frdiff.search.follow import ALIKE, Outset, Path, follow, outset_of, spread_levels, walked
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure
from frdiff.search.subject import Batch, Drawn, Subject
from frdiff.setting import Setting

__all__ = ["Guide", "followed"]

MOST_ENDS = 2


def followed(batches: Sequence[Batch]) -> list[Batch]:
    """The batches whose paths are followed: the first one at each guidance."""
    first = {batch.guidance: batch for batch in reversed(batches)}
    return [first[guidance] for guidance in sorted(first, key=lambda scale: scale or 0.0)]


@dataclass
class Guide:
    """Knows where the converged solution passes, and lets runs of few steps follow it.

    Attributes:
        notes: keeps what was found, across runs too.
        batches: whose samples are followed: one batch, or one for each guidance scale, rising.
        spent: steps that following took, times samples.
    """

    subject: Subject
    notes: Journal
    batches: Sequence[Batch]
    spent: float = 0.0
    _paths: dict[int, Path | None] = field(default_factory=dict)
    _ends: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def walk(self, truth: Setting, batch: Batch) -> Drawn | None:
        """The converged solution, its path remembered; None where that is not to be followed."""
        if batch not in self.batches:
            return None
        drawn, self._paths[self.batches.index(batch)] = walked(self.subject, truth, batch)
        return drawn

    def settings(self, start: Setting, measure: Measure) -> list[Setting]:
        """Settings that follow, on the own noise levels and on others between the same ends.

        What the solver is matters little. So there are none where as many steps between these ends
        were followed already, or between `MOST_ENDS` others.

        Args:
            start: the pipeline with as many steps, and the solver.
            measure: of the samples that are followed.
        """
        question = f"following {start.scheduler} {start.steps} {len(self.batches)}"
        if question not in self.notes:
            found = [policy.dumps() for policy in self._tables(start, measure)]
            self.notes[question] = [self.spent, self._ends[start.steps], found]
        answer = checked_list("what was followed, in the journal", self.notes[question])
        self.spent, ends, texts = answer
        check_float("what following took", self.spent, 0, 1e9)
        self._ends[start.steps] = [_ends(pair) for pair in checked_list("ends", ends)]
        policies = [loads(text) for text in checked_list("tables in the journal", texts)]
        return [replace(start, policy=policy) for policy in policies]

    def _tables(self, start: Setting, measure: Measure) -> list[TablePolicy | RangePolicy]:
        ends = self._ends.setdefault(start.steps, [])
        if len(ends) == MOST_ENDS:
            return []
        outset = outset_of(self.subject, start, self._part(0))
        if outset is None or not measure.true or None in self._paths.values():
            return []
        own = outset.levels[0], outset.levels[-1]
        if any(np.allclose(own, others, atol=ALIKE) for others in ends):
            return []
        ends.append(own)
        levels = [outset.levels, *(spread_levels(outset.levels) if outset.takes_levels else [])]
        found = [self._followed(start, outset, one) for one in levels]
        return [policy for policy in found if policy is not None]

    def _followed(
        self, start: Setting, outset: Outset, levels: Sequence[float]
    ) -> TablePolicy | RangePolicy | None:
        tables: list[TablePolicy] = []
        for number in range(len(self.batches)):
            path, part = self._paths[number], self._part(number)
            if path is None:
                return None
            table = follow(self.subject, start, outset, levels, part, path)
            if table is None:
                return None
            self.spent += table.num_steps * len(part.prompts)
            tables.append(table)
        scales = [batch.guidance for batch in self.batches if batch.guidance is not None]
        return tables[0] if len(tables) == 1 else RangePolicy(scales, tables)

    def _part(self, number: int) -> Batch:
        """The samples of the first call of a batch."""
        batch, size = self.batches[number], self.subject.per_call
        return batch if size is None else batch.part(0, size)


def _ends(pair: object) -> tuple[float, float]:
    """First and last noise level of runs that were followed, as a journal has them."""
    first, last = checked_list("ends of noise levels in the journal", pair)
    for level in (first, last):
        check_float("a noise level in the journal", level, -1000, 1000)
    return first, last
