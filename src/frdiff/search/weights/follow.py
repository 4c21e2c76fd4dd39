"""Following: weights in closed form, so that every step ends on the converged path.

Where the samples of a run with few steps should be at each of its noise levels is known: where the
converged solution passes. Step by step the weights of the scores so far, and of the sample, are
those that bring the samples nearest to it, by least squares on a few samples; the run goes on from
where they lead, so later steps make up for what earlier ones could not. Where guidance computes
samples with a condition and without, how both differ is weighed too. It takes one run of those
samples, and is where learning begins (`frdiff.search.weights.learn`).
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.bank.forecast import extrapolation_weights
from frdiff.policy import TablePolicy
from frdiff.policy.table import MAX_WEIGHTS
from frdiff.run.applying import Run
from frdiff.schedulers.levels import noise_coordinates, takes_levels
from frdiff.search.schedules.space import in_full
from frdiff.search.subject import Batch, Drawn, Subject, altered_steps, scheduler_of
from frdiff.search.weights.hearing import hearing
from frdiff.search.weights.influence import responses
from frdiff.search.weights.record import elements_of
from frdiff.search.weights.tape import taped
from frdiff.setting import Setting

__all__ = ["Followed", "Outset", "Path", "follow", "outset_of", "walked"]

ELEMENTS = 8192  # per sample
RIDGE = 1e-6  # of the mean square of what is weighed
ROUNDS = 3
MOST = 20.0  # a weight beyond which nothing is believed
LEAST = 1e-9  # of the largest squared error, which counts as none
DIGITS = 7
NEAR = 1e-4  # in the logarithm of the noise level
NODES = 4  # of a path that a point between them is found from


@dataclass(frozen=True)
class Path:
    """Where the converged solution passes.

    Attributes:
        levels: the logarithm of the noise level of every step, falling.
        samples: before every step and after the last, shape (steps + 1, samples, elements).
    """

    levels: np.ndarray
    samples: np.ndarray

    def scaled(self, scale: Callable[[float], float]) -> "Path":
        """The same path, its samples multiplied with what `scale` says of the noise level."""
        factors = np.array([scale(level) for level in (*self.levels, -np.inf)], dtype=np.float32)
        return replace(self, samples=self.samples * factors[:, None, None])

    def through(self, levels: Sequence[float]) -> list[np.ndarray] | None:
        """The samples at some noise levels, and the last; None where the path has not been."""
        low, high = self.levels[-1] - NEAR, self.levels[0] + NEAR
        if not all(low <= level <= high for level in levels):
            return None
        return [*map(self._at, levels), self.samples[-1]]

    def _at(self, level: float) -> np.ndarray:
        place = int(np.searchsorted(-self.levels, -level))
        begin = min(max(place - NODES // 2, 0), max(len(self.levels) - NODES, 0))
        nodes = slice(begin, begin + NODES)
        weights = extrapolation_weights(self.levels[nodes].tolist(), level)
        return np.tensordot(weights, self.samples[:-1][nodes], 1)


@dataclass(frozen=True)
class Outset:
    """How the runs of a setting begin.

    Attributes:
        timing: what they give to `set_timesteps`, by name, without the device.
        levels: the logarithm of the noise level of every step.
        takes_levels: whether others can be laid.
        weighs_samples: whether the sample may be weighed, see `frdiff.search.weights.tape`.
    """

    timing: Mapping[str, Any]
    levels: Sequence[float]
    takes_levels: bool
    weighs_samples: bool


@dataclass(frozen=True)
class Followed:
    """What following came to.

    Attributes:
        table: steps computed in full, each weighed so that it ends on the path.
        missed: by how much the samples end off it, the mean over them of the logarithm of the mean
            squared distance.
    """

    table: TablePolicy
    missed: float


class _BegunError(Exception):
    """Ends a run after its first call."""


def outset_of(subject: Subject, setting: Setting, batch: Batch) -> Outset | None:
    """How the runs of a setting begin; None if they tell no noise level for every step.

    Args:
        batch: of which one call is made.
    """

    def stop(score: Tensor, sample: Tensor) -> Tensor:
        raise _BegunError

    solver, steps = setting.scheduler, setting.steps
    with (
        taped(subject, solver, steps) as tape,
        altered_steps(subject, solver, stop) as timings,
        suppress(_BegunError),
    ):
        subject.draw(Setting(steps, in_full(steps)), batch)
    scheduler = copy.deepcopy(scheduler_of(subject, solver))
    try:
        scheduler.set_timesteps(**timings[-1])
        levels = noise_coordinates(scheduler)
    except (IndexError, TypeError, ValueError):
        return None
    if len(levels) != steps or (np.diff(levels) >= 0).any():
        return None
    takes = subject.takes_steps and takes_levels(scheduler)
    return Outset(timings[-1], levels, takes, tape.alike)


def walked(subject: Subject, setting: Setting, batch: Batch) -> tuple[Drawn, Path | None]:
    """What a setting draws, and the path that the samples of its first call take.

    None where it is not known: the setting tells no noise levels, or evaluates twice at one.
    """
    samples: list[np.ndarray] = []
    paths: list[Path | None] = []

    def see(score: Tensor, sample: Tensor) -> Tensor:
        if not paths:
            samples.append(_rows(sample, batch))
        return score

    def on_run(run: Run) -> None:
        if not paths:
            last = None if run.latents is None else _rows(run.latents, batch)
            paths.append(_path(run.noise_levels, samples, last))

    scale = _scale_of(scheduler_of(subject, setting.scheduler))
    with altered_steps(subject, setting.scheduler, see):
        drawn = subject.drawn(Setting(setting.steps, setting.policy), batch, on_run)
    (path,) = paths[:1] or (None,)
    # As the denoiser gets them, whatever the scheduler.
    return drawn, None if path is None else path.scaled(lambda level: 1 / scale(level))


def _path(
    levels: Sequence[float], samples: Sequence[np.ndarray], last: np.ndarray | None
) -> Path | None:
    if last is None or len(levels) != len(samples) or (np.diff(levels) >= 0).any():
        return None
    alike = len({sample.shape for sample in (*samples, last)}) == 1
    return Path(np.array(levels), np.stack([*samples, last])) if alike else None


def _rows(values: Tensor, batch: Batch) -> np.ndarray:
    """Elements of as many rows as a batch has samples: some pipelines step every sample twice."""
    return elements_of(values[: len(batch.prompts)], ELEMENTS)


def _scale_of(scheduler: SchedulerMixin) -> Callable[[float], float]:
    """How many times as large a scheduler has samples as the denoiser gets them.

    More than once where it adds noise to pictures that it leaves as they are, and scales the sum
    for the denoiser (Karras et al., NeurIPS 2022, arXiv 2206.00364: the scaling of inputs).
    """
    if float(getattr(scheduler, "init_noise_sigma", 1.0)) == 1:
        return lambda level: 1.0
    data = float(scheduler.config.get("sigma_data", 1.0))
    return lambda level: math.hypot(math.exp(level), data)


def follow(
    subject: Subject,
    setting: Setting,
    outset: Outset,
    levels: Sequence[float],
    batch: Batch,
    path: Path,
) -> Followed | None:
    """A table of steps computed in full, each weighed so that it ends on the path.

    None where there is none: what a step makes of its score is no number, or the path has not been
    at these noise levels.

    Args:
        setting: step count and solver.
        outset: of its runs.
        levels: noise levels of the steps, laid if they are not its own.
        batch: whose path it is, drawn in one call.
    """
    laid = None if np.allclose(levels, outset.levels, atol=NEAR) else levels
    scheduler = scheduler_of(subject, setting.scheduler)
    found = responses(scheduler, outset.timing, setting.steps, laid)
    scale = _scale_of(scheduler)
    places = path.through(levels[1:])
    if found is None or places is None:
        return None
    after = [*levels[1:], -math.inf]
    places = [scale(level) * place for level, place in zip(after, places, strict=True)]
    inputs = [1 / scale(level) for level in levels] if outset.weighs_samples else None
    walker = _Walker(found, places, inputs, batch)
    table = replace(in_full(setting.steps), noise_levels=laid)
    with (
        hearing(subject) as heard,
        altered_steps(
            subject,
            setting.scheduler,
            lambda score, sample: walker.step(score, sample, heard.difference(score)),
        ),
    ):
        subject.draw(Setting(setting.steps, table), batch)
    table = replace(
        table,
        score_weights=walker.score_weights,
        sample_weights=walker.sample_weights or None,
        guidance_weights=walker.guidance_weights if any(walker.guidance_weights) else None,
    )
    return Followed(table, walker.missed())


class _Walker:
    """Weighs the scores of one run, step by step.

    Args:
        responses: see `frdiff.search.weights.influence.responses`.
        places: where every step is to end, (samples, elements) each.
        inputs: per step, what the sample is multiplied with for the denoiser; None where it may not
            be weighed.
        batch: that is drawn.

    Attributes:
        score_weights, sample_weights, guidance_weights: chosen so far.
    """

    def __init__(
        self,
        responses: np.ndarray,
        places: Sequence[np.ndarray],
        inputs: Sequence[float] | None,
        batch: Batch,
    ) -> None:
        self._responses = responses
        self._places = places
        self._inputs = inputs
        self._batch = batch
        self._moves: list[np.ndarray] = []  # the first sample, and the scores taken
        self._scores: list[Tensor] = []
        self.score_weights: list[list[float]] = []
        self.guidance_weights: list[float] = []
        self.sample_weights: list[float] = []

    def step(self, score: Tensor, sample: Tensor, difference: Tensor | None) -> Tensor:
        """The score that the next step takes instead of `score`.

        Args:
            difference: of the halves that guidance makes the score of; None where there are none.
        """
        number = len(self.score_weights)
        if not number:
            self._moves.append(_rows(sample, self._batch))
        takes = self._responses[number, : number + 2]
        rest = np.tensordot(takes[:-1], np.stack(self._moves), 1)
        self._scores = [score, *self._scores][:MAX_WEIGHTS]
        terms = list(self._scores)
        if difference is not None:
            terms.append(difference)
        if self._inputs is not None:
            terms.append(sample * self._inputs[number])
        rows = [_rows(term, self._batch) for term in terms]
        weights = _fitted((self._places[number] - rest) / takes[-1], rows)
        taken = torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)])
        self._moves.append(_rows(taken.sum(0), self._batch))
        if self._inputs is not None:
            self.sample_weights.append(weights.pop())
        self.guidance_weights.append(0.0 if difference is None else weights.pop())
        self.score_weights.append(weights)
        return taken.sum(0)

    def missed(self) -> float:
        """See `Followed.missed`; after the last step."""
        end = np.tensordot(self._responses[-1], np.stack(self._moves), 1)
        squares = ((end - self._places[-1]) ** 2).mean(1)
        return float(np.log(squares + np.finfo(float).tiny).mean())


def _fitted(wanted: np.ndarray, terms: Sequence[np.ndarray]) -> list[float]:
    """Weights whose sum of terms is nearest to what is wanted, in the middle of the samples.

    They lower the mean over samples of the logarithm of the squared error, as decibels count it, by
    least squares weighed again with the errors of the last round.
    """
    columns = np.stack(terms, -1).astype(np.float64)
    missed = wanted - columns[..., 0]
    grams = np.einsum("sea,seb->sab", columns, columns)
    slopes = np.einsum("sea,se->sa", columns, missed)
    squares = (missed**2).sum(1)
    first = np.eye(len(terms))[0]
    change = np.zeros(len(terms))
    for _ in range(ROUNDS):
        errors = squares - 2 * slopes @ change + np.einsum("a,sab,b->s", change, grams, change)
        share = 1 / np.maximum(errors, LEAST * squares.max() + np.finfo(float).tiny)
        gram = np.tensordot(share, grams, 1)
        ridge = np.diag(RIDGE * np.diag(gram) + np.finfo(float).tiny)
        change = np.linalg.solve(gram + ridge, share @ slopes)
    weights = first + change
    if not np.isfinite(weights).all() or np.abs(weights).max() > MOST:
        weights = first
    return [round(float(weight), DIGITS) for weight in weights]
