"""Which results may stand beside one another: the same model, guidance and machine."""

import json
from collections import Counter
from dataclasses import dataclass

from frdiff.evaluation.distributions import distribution_tasks
from frdiff.evaluation.results.files import Results
from frdiff.evaluation.results.records import Distribution, Fidelity
from frdiff.evaluation.suites import suite_behind
from frdiff.models import GUIDANCE

__all__ = ["Place", "comparable", "places_of"]

PLAIN = "cpu", "float32"


@dataclass(frozen=True)
class Place:
    """A model, its guidance scale (None without), and what it was measured on and in."""

    model: str
    guidance: float | None
    device: str
    dtype: str

    @property
    def name(self) -> str:
        """As readers see it."""
        guidance = "" if self.guidance is None else f", guidance {self.guidance:g}"
        return f"{self.model}{guidance}{self._elsewhere(', ', ' ')}"

    @property
    def anchor(self) -> str:
        """For addresses and files; the guidance that a model is shown at has the plain name."""
        usual = self.guidance == GUIDANCE.get(self.model)
        guidance = "" if usual or self.guidance is None else f"-{self.guidance:g}"
        return f"{self.model}{guidance}{self._elsewhere('-', '-')}"

    def _elsewhere(self, before: str, between: str) -> str:
        there = self.device, self.dtype
        return "" if there == PLAIN else before + between.join(there)

    def holds(self, row: Fidelity | Distribution) -> bool:
        """Whether a result was measured here."""
        return _place(row) == self


def _place(row: Fidelity | Distribution) -> Place:
    return Place(row.model, row.setup.guidance, row.setup.device, row.setup.dtype)


def places_of(results: Results) -> list[Place]:
    """The places of all fidelities, by model, guidance and machine."""
    found = {_place(row) for row in results.fidelities}
    return sorted(
        found, key=lambda place: (place.model, place.guidance or 0.0, place.device, place.dtype)
    )


def comparable(place: Place, results: Results) -> tuple[list[Fidelity], list[Distribution]]:
    """A place's results under the conditions that most of them share.

    Others are named in `results.errors`.
    """
    own = [row for row in results.fidelities if place.holds(row)]
    conditions = Counter(row.setup for row in own).most_common(1)[0][0]
    fidelities = [row for row in own if row.setup == conditions]
    if len(fidelities) < len(own):
        results.errors.append(
            f"{place.name}: {len(own) - len(fidelities)} results under other "
            "conditions (weights, seeds, pictures) than most; report them from a folder "
            "of their own"
        )
    tasks = distribution_tasks(fidelities, suite_behind(conditions))
    wanted = {(point, json.dumps(config)) for point, config in tasks}
    found: dict[tuple[str, str], Distribution] = {}
    for row in results.distributions:
        key = row.point, json.dumps(row.method)
        same = place.holds(row) and row.setup.weights_hash == conditions.weights_hash
        # Of two at one point the one that was seen through Inception too says more.
        if same and key in wanted and (key not in found or row.inception):
            found[key] = row
    return fidelities, sorted(found.values(), key=lambda row: (row.point, row.family))
