"""Freedoms: the numbers of a table that are learnt, and the table that they make.

A run's keyframes each have some: how much of every score so far the steps up to the next keyframe
take, how much of the sample itself, by how much their own guidance is another, and at which noise
level the keyframe lies. A solver of any kind is a point among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from frdiff.plan import Action
from frdiff.policy import TablePolicy
from frdiff.policy.table import MAX_WEIGHTS

__all__ = ["Freedoms", "Kinds"]

DIGITS = 7


class Kinds(NamedTuple):
    """What may be chosen beside score weights.

    Attributes:
        levels: the logarithm of the noise level of every step, to begin with; None if they stay.
        samples: whether the sample may be weighed.
    """

    levels: Sequence[float] | None = None
    samples: bool = False


class _Place(NamedTuple):
    """What one number changes.

    Attributes:
        kind: "score", "sample", "guidance" or "level".
        key: the keyframe whose steps, up to the next, it is for.
        age: of a score: 0 for that keyframe's own, 1 for that of the one before.
    """

    kind: str
    key: int
    age: int = 0


@dataclass(frozen=True)
class Freedoms:
    """Changes of a table's numbers, all 0 for the table itself.

    A score's weight changes by as much in all steps up to the next keyframe, and so does the
    sample's. A keyframe's level changes by the logarithm of how much longer, in the logarithm of
    the noise level, the steps up to it get; what comes after moves along.

    Attributes:
        table: to begin with.
        places: what each number changes.
        levels: the noise levels to begin with; None if they stay.
    """

    table: TablePolicy
    places: Sequence[_Place]
    levels: Sequence[float] | None = None

    @classmethod
    def within(cls, table: TablePolicy, kinds: Kinds, allowed: float) -> "Freedoms | None":
        """As many scores a step as a look at all numbers pays for; None if not even the newest.

        Args:
            allowed: steps computed.
        """
        keyframes = table.plan(table.num_steps).keyframes
        others = [_Place("sample", key) for key in keyframes if kinds.samples]
        others += [_Place("guidance", key) for key in keyframes if table.guidance_weights]
        others += [_Place("level", key) for key in keyframes[1:] if kinds.levels is not None]
        for depth in range(MAX_WEIGHTS, 0, -1):
            scores = [
                _Place("score", key, age)
                for i, key in enumerate(keyframes)
                for age in range(min(i + 1, depth))
            ]
            found = cls(table, [*scores, *others], kinds.levels)
            if found.look_cost <= allowed:
                return found
        return None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def run_cost(self) -> float:
        """Of a run, in steps computed."""
        return self._computed_from(0)

    @property
    def look_cost(self) -> float:
        """Of a run and of seeing what every number does to it."""
        return self.run_cost + sum(map(self.cost, range(len(self))))

    def cost(self, number: int) -> float:
        """Of the part of a run that changes with a number."""
        return self._computed_from(self.known(number))

    def known(self, number: int) -> int:
        """Steps at the beginning of a run whose calls need not be made to see a number's effect.

        0 where features are reused later: those that the calls store are needed then.
        """
        place = self.places[number]
        known = place.key if place.kind == "level" else place.key + 1
        later = self.table.plan(self.table.num_steps).steps[known:]
        return 0 if any(step.action is Action.REUSE for step in later) else known

    def _computed_from(self, begin: int) -> float:
        plan = self.table.plan(self.table.num_steps)
        return sum(step.action is not Action.JUMP for step in plan.steps[begin:])

    def policy(self, values: np.ndarray) -> TablePolicy:
        """The table with these changes.

        Raises:
            ValueError: a number is out of range.
        """
        made = replace(self.table, score_weights=self._scores(values), origin=None)
        if any(place.kind == "sample" for place in self.places):
            weights = self.table.sample_weights or [0.0] * self.table.num_steps
            made = replace(made, sample_weights=self._weights("sample", weights, values))
        if self.table.guidance_weights:
            weights = self.table.guidance_weights
            made = replace(made, guidance_weights=self._weights("guidance", weights, values))
        if self.levels is not None:
            made = replace(made, noise_levels=self._placed(np.array(self.levels), values))
        return made

    def _scores(self, values: np.ndarray) -> list[list[float]]:
        table = self.table
        rows = [list(row) for row in table.score_weights or [(1.0,)] * table.num_steps]
        for (kind, key, age), value in zip(self.places, values, strict=True):
            for step in self._steps(key) if kind == "score" else ():
                row = rows[step]
                row += [0.0] * (age + 1 - len(row))
                row[age] += value
        return [[round(float(weight), DIGITS) for weight in row] for row in rows]

    def _weights(self, kind: str, begun: Sequence[float], values: np.ndarray) -> list[float]:
        """One weight a step: the sample's up to the next keyframe, guidance at the keyframe."""
        weights = list(begun)
        for place, value in zip(self.places, values, strict=True):
            if place.kind == kind:
                for step in self._steps(place.key) if kind == "sample" else [place.key]:
                    weights[step] += value
        return [round(float(weight), DIGITS) for weight in weights]

    def _placed(self, levels: np.ndarray, values: np.ndarray) -> list[float]:
        """Noise levels, the steps up to each keyframe longer or shorter; they fall in any case."""
        plan = self.table.plan(self.table.num_steps)
        stretched = {
            place.key: value
            for place, value in zip(self.places, values, strict=True)
            if place.kind == "level"
        }
        lengths = np.diff(levels)
        for before, key in pairwise(plan.keyframes):
            lengths[before:key] *= np.exp(stretched[key])
        placed = levels[0] + np.concatenate([[0.0], np.cumsum(lengths)])
        return [round(float(level), DIGITS) for level in placed]

    def _steps(self, key: int) -> list[int]:
        """The steps from a keyframe up to the next that take a score of earlier ones or its own."""
        plan = self.table.plan(self.table.num_steps)
        ends = dict(pairwise([*plan.keyframes, len(plan)]))
        # A step that reuses features takes the score that it computes.
        return [step for step in range(key, ends[key]) if plan[step].action is not Action.REUSE]
