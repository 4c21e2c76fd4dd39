"""Qualities of settings: how near their samples come to the converged solution."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from frdiff.engines import Engine, in_order
from frdiff.policy.checks import check_float, checked_list
from frdiff.search.journal import Journal
from frdiff.search.subject import Batch, Drawn, Job, drawing
from frdiff.search.weights.follow import walked
from frdiff.setting import Setting

if TYPE_CHECKING:
    from frdiff.search.weights.guide import Guide

__all__ = [
    "Measure",
    "decibels",
    "digest_of",
    "middle",
    "middles",
    "standard_error",
    "worst_middle",
]

MOST_DECIBELS = 200.0

# Decibels, each with the guidance it was drawn at; None where all are alike.
Paired = list[tuple[float | None, float]]


class Measure:
    """Measures settings on one set of samples, each setting once.

    Args:
        engine: what draws.
        truth: the setting of the converged solution.
        batches: the set.
        journal: remembers what was measured, across runs too.
        name: of the set, in the journal.
        peak: see `decibels`.
        guide: is told where the truth of the batches that it follows passes; None follows none.
        on_drawn: called with a setting whenever a batch was drawn, and its number of samples.

    Attributes:
        asked: the settings measured or remembered on all batches, by digest, the truth not among
            them.
        par: by guidance, what is worth the same at all of them, see `worst_middle`.
    """

    def __init__(
        self,
        engine: Engine[Job, Any],
        truth: Setting,
        batches: Sequence[Batch],
        journal: Journal,
        name: str,
        peak: float | None,
        guide: "Guide | None" = None,
        on_drawn: Callable[[Setting, int], None] = lambda setting, samples: None,
    ) -> None:
        self.engine = engine
        self.guide = guide
        self.on_drawn = on_drawn
        self.truth = truth
        self.batches = batches
        self.journal = journal
        self.name = name
        self.peak = peak
        self.asked: dict[str, Setting] = {}
        self.par: dict[float | None, float] = {}
        self._drawn: dict[str, tuple[Setting, Batch]] = {}

    @cached_property
    def true(self) -> list[Drawn]:
        """The converged solution, batch by batch."""
        followed = () if self.guide is None else self.guide.batches
        jobs = [
            partial(walked, setting=self.truth, batch=batch)
            if batch in followed
            else drawing(self.truth, batch)
            for batch in self.batches
        ]
        found = []
        for batch, drawn in zip(self.batches, in_order(self.engine(jobs)), strict=True):
            found.append(drawn)
            self.on_drawn(self.truth, len(batch.prompts))
        for number, batch in enumerate(self.batches):
            if self.guide is not None and batch in followed:
                found[number], path = found[number]
                self.guide.remember(batch, path)
        return found

    def __call__(self, settings: Sequence[Setting]) -> list[tuple[float, ...]]:
        """The decibels of every sample, for each setting."""
        self.asked |= {digest_of(setting): setting for setting in settings}
        return self._measured(settings, len(self.batches))

    def glance(self, settings: Sequence[Setting]) -> list[tuple[float, ...]]:
        """The decibels of the samples of the first half of the batches, for each setting."""
        return self._measured(settings, math.ceil(len(self.batches) / 2))

    def quality(self, values: Sequence[float], quantile: float) -> float:
        """The middle of a setting's decibels; of those at the worst guidance where it varies."""
        return worst_middle(self.paired(values), quantile, self.par)

    def par_of(
        self, settings: Sequence[Sequence[float]], quantile: float
    ) -> dict[float | None, float]:
        """What the best of some settings has at each guidance.

        Decibels fall as guidance rises, whatever the sampler: the least of them all would be those
        at the greatest, and nothing would be asked of the others.

        Args:
            settings: the decibels of each, of all samples or of the first ones.
        """
        found = [middles(self.paired(values), quantile) for values in settings]
        return {group: max(one[group] for one in found) for group in (found or [{}])[0]}

    def paired(self, values: Sequence[float]) -> Paired:
        """The decibels of a setting, each with the guidance it was drawn at, None if all are alike.

        Args:
            values: of all samples, or of the first ones.
        """
        guidances = [batch.guidance for batch in self.batches for _ in batch.prompts]
        if len({*guidances}) == 1:
            return [(None, value) for value in values]  # a loop draws as many as it likes
        return [*zip(guidances[: len(values)], values, strict=True)]

    def cost(self, price: Callable[[Setting], float]) -> float:
        """What was spent, as `price` counts a run of all samples; the truth is among it."""
        samples = sum(len(batch.prompts) for batch in self.batches)
        shares = (
            price(setting) * len(batch.prompts) / samples for setting, batch in self._drawn.values()
        )
        return price(self.truth) + sum(shares)

    def _measured(self, settings: Sequence[Setting], count: int) -> list[tuple[float, ...]]:
        """The decibels of the samples of so many batches, for each setting."""
        questions = {
            self._question(setting, number): (setting, number)
            for setting in settings
            for number in range(count)
        }
        jobs = {name: (one, self.batches[place]) for name, (one, place) in questions.items()}
        self._drawn |= jobs
        new = [name for name in questions if name not in self.journal]
        true = self.true if new else []
        for place, drawn in self.engine([drawing(*jobs[name]) for name in new]):
            truth = true[questions[new[place]][1]].samples
            self.journal[new[place]] = decibels(truth, drawn.samples, self.peak)
            setting, batch = jobs[new[place]]
            self.on_drawn(setting, len(batch.prompts))
        return [
            tuple(value for number in range(count) for value in self._answer(setting, number))
            for setting in settings
        ]

    def _question(self, setting: Setting, number: int) -> str:
        return f"{self.name} {number} {digest_of(setting)}"

    def _answer(self, setting: Setting, number: int) -> list[float]:
        question = self._question(setting, number)
        values = checked_list("an answer in the journal", self.journal[question])
        samples = len(self.batches[number].prompts)
        for value in values:
            check_float("decibels in the journal", value, -MOST_DECIBELS, MOST_DECIBELS)
        if self.peak is not None and len(values) != samples:
            raise ValueError(f"an answer in the journal has {samples} decibels, got {len(values)}")
        return values


def digest_of(setting: Setting) -> str:
    """16 hexadecimal digits that tell settings apart, in a journal."""
    policy = None if setting.policy is None else setting.policy.dumps()
    text = json.dumps([setting.steps, setting.scheduler, policy])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decibels(truth: np.ndarray, drawn: np.ndarray, peak: float | None) -> list[float]:
    """How near each sample is to the true one, 200 at most; -200 where it is not finite.

    Args:
        peak: PSNR = 10 log10(peak^2 / mean squared error); None takes the variance of the true
            sample in its place, which makes it a signal-to-noise ratio.
    """
    if truth.shape != drawn.shape:
        raise ValueError(f"samples have shape {drawn.shape}, the true ones {truth.shape}")
    found = []
    for true, own in zip(truth.astype(np.float64), drawn.astype(np.float64), strict=True):
        power = true.var() if peak is None else peak**2
        with np.errstate(divide="ignore", invalid="ignore"):
            value = 10 * np.log10(power / ((own - true) ** 2).mean())
        limited = min(max(value, -MOST_DECIBELS), MOST_DECIBELS)
        found.append(-MOST_DECIBELS if np.isnan(value) else float(limited))
    return found


def middle(values: Sequence[float], quantile: float = 0.5) -> float:
    """A smooth quantile: the mean of five from 0.2 below to 0.2 above.

    The mean of a set hangs on its worst samples, the quantile alone on one of them.
    """
    around = np.clip(quantile + np.linspace(-0.2, 0.2, 5), 0, 1)
    return float(np.quantile(values, around).mean())


def middles(values: Paired, quantile: float = 0.5) -> dict[float | None, float]:
    """The `middle` of values that belong together, by what is first of each pair."""
    groups: dict[float | None, list[float]] = {}
    for group, value in values:
        groups.setdefault(group, []).append(value)
    return {group: middle(own, quantile) for group, own in groups.items()}


def worst_middle(
    values: Paired, quantile: float = 0.5, par: Mapping[float | None, float] | None = None
) -> float:
    """The least of the `middles` of values.

    Args:
        par: of each group, what is worth the same; the least is that of what lies above or below
            it, from the least par. None compares them as they are.
    """
    found = middles(values, quantile)
    if not par:
        return min(found.values())
    return min(own - par[group] for group, own in found.items()) + min(par.values())


def standard_error(values: Sequence[float]) -> float:
    """Of the median, from the spread of the middle half; as for a normal distribution."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(1.2533 * (high - low) / 1.349 / np.sqrt(len(values)))
