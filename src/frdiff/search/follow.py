"""Following: weights in closed form, so that every step ends on the converged path.

Where the samples of a run with few steps should be at each of its noise levels is known: where the
converged solution passes. Step by step the weights of the scores so far, and of the sample, are
those that bring the samples nearest to it, by least squares on a few samples; the run goes on from
where they lead, so later steps make up for what earlier ones could not. It takes one run of those
samples, and is where learning begins (`frdiff.search.learn`).
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frdiff.levels import noise_coordinates, takes_levels
from frdiff.policy import TablePolicy
from frdiff.policy.table import MAX_WEIGHTS
from frdiff.run import Run
from frdiff.search.influence import responses
from frdiff.search.record import elements_of
from frdiff.search.space import in_full
from frdiff.search.subject import (
    Batch,
    Drawn,
    Subject,
    altered_steps,
    scheduler_of,
)
from frdiff.search.tape import taped
from frdiff.setting import Setting

__all__ = ["Outset", "Path", "follow", "outset_of", "spread_levels", "walked"]

ELEMENTS = 8192  # per sample
RIDGE = 1e-6  # of the mean square of what is weighed
ROUNDS = 3
NODES = 4  # of the path that a point between them is found from
MOST = 20.0  # a weight beyond which nothing is believed
LEAST = 1e-9  # of the largest squared error, which counts as none
ROOTS = (3.0, 7.0, 15.0, 60.0)
DIGITS = 7


@dataclass(frozen=True)
class Path:
    """Where the converged solution passes.

    Attributes:
        levels: the logarithm of the noise level of every step, falling.
        samples: before every step and after the last, shape (steps + 1, samples, elements).
    """

    levels: np.ndarray
    samples: np.ndarray

    def at(self, level: float) -> np.ndarray | None:
        """The samples at a noise level; None where the path has not been."""
        if not self.levels[-1] - 1e-4 <= level <= self.levels[0] + 1e-4:
            return None
        place = int(np.searchsorted(-self.levels, -level))
        begin = min(max(place - NODES // 2, 0), max(len(self.levels) - NODES, 0))
        nodes = slice(begin, begin + NODES)
        weights = _lagrange(self.levels[nodes], level)
        return np.tensordot(weights, self.samples[: len(self.levels)][nodes], 1)


def _lagrange(nodes: np.ndarray, at: float) -> np.ndarray:
    gaps = nodes[:, None] - nodes[None] + np.eye(len(nodes))
    shares = (at - nodes[None]) / gaps
    np.fill_diagonal(shares, 1.0)
    return shares.prod(axis=1)


@dataclass(frozen=True)
class Outset:
    """How the runs of a setting begin.

    Attributes:
        timing: what they give to `set_timesteps`, by name, without the device.
        levels: the logarithm of the noise level of every step.
        takes_levels: whether others can be laid.
        weighs_samples: whether the sample may be weighed, see `frdiff.search.tape`.
    """

    timing: Mapping[str, Any]
    levels: Sequence[float]
    takes_levels: bool
    weighs_samples: bool


class _Begun(Exception):
    """Ends a run after its first call."""


def outset_of(subject: Subject, setting: Setting, batch: Batch) -> Outset | None:
    """How the runs of a setting begin; None if it has no such noise levels.

    Args:
        batch: of which one call is made.
    """

    def stop(score: Tensor, sample: Tensor) -> Tensor:
        raise _Begun

    solver, steps = setting.scheduler, setting.steps
    with (
        taped(subject, solver, steps) as tape,
        altered_steps(subject, solver, stop) as timings,
        suppress(_Begun),
    ):
        subject.draw(Setting(steps, in_full(steps)), batch.part(0, subject.per_call or 1))
    scheduler = copy.deepcopy(scheduler_of(subject, solver))
    # Samples that are scaled otherwise than the denoiser gets them are on no path of others.
    if not timings or float(getattr(scheduler, "init_noise_sigma", 1.0)) != 1:
        return None
    try:
        scheduler.set_timesteps(**timings[-1])
        levels = noise_coordinates(scheduler)
    except (TypeError, ValueError):
        return None
    takes = subject.takes_steps and takes_levels(scheduler)
    return Outset(timings[-1], levels, takes, tape.alike) if len(levels) == steps else None


def spread_levels(levels: Sequence[float]) -> list[list[float]]:
    """Noise levels as many, between the same ends, crowded otherwise: those of Karras and kin.

    The roots of the noise levels are even (Karras et al., NeurIPS 2022, arXiv 2206.00364, with the
    7th); the higher the root, the more steps at little noise.
    """
    first, last = levels[0], levels[-1]
    places = np.linspace(0, 1, len(levels))
    found = []
    for root in ROOTS:
        begin, end = np.exp(first / root), np.exp(last / root)
        spread = root * np.log(begin + places * (end - begin))
        found.append([round(float(level), DIGITS) for level in spread])
    return found


def walked(subject: Subject, setting: Setting, batch: Batch) -> tuple[Drawn, Path | None]:
    """What a setting draws, and the path that it takes; None if it tells no noise levels."""
    samples: list[np.ndarray] = []
    levels: list[float] = []

    def see(score: Tensor, sample: Tensor) -> Tensor:
        samples.append(elements_of(sample, ELEMENTS))
        return score

    def on_run(run: Run) -> None:
        levels.extend(run.noise_levels)

    scaled = float(getattr(scheduler_of(subject, setting.scheduler), "init_noise_sigma", 1.0))
    with altered_steps(subject, setting.scheduler, see):
        drawn = subject.drawn(Setting(setting.steps, setting.policy), batch, on_run)
    final = elements_of(torch.from_numpy(drawn.latents), ELEMENTS)
    # As many as there are steps where one call draws the batch, in steps of one evaluation.
    if len(levels) != len(samples) or (np.diff(levels) >= 0).any() or scaled != 1:
        return drawn, None
    if {one.shape for one in samples} != {final.shape}:
        return drawn, None
    return drawn, Path(np.array(levels), np.stack([*samples, final]))


def follow(
    subject: Subject,
    setting: Setting,
    outset: Outset,
    levels: Sequence[float],
    batch: Batch,
    path: Path,
) -> TablePolicy | None:
    """A table of steps computed in full, each weighed so that it ends on the path.

    None where there is none: what a step makes of its score is no number, or the path has not been
    at these noise levels.

    Args:
        setting: step count and solver.
        outset: of its runs.
        levels: noise levels of the steps, laid if they are not its own.
        batch: whose path it is.
    """
    laid = None if np.allclose(levels, outset.levels, atol=1e-6) else levels
    table = replace(in_full(setting.steps), noise_levels=laid)
    scheduler = scheduler_of(subject, setting.scheduler)
    found = responses(scheduler, outset.timing, setting.steps, laid)
    places = [path.at(level) for level in levels[1:]]
    if found is None or any(place is None for place in places):
        return None
    walker = _Walker(found, [*places, path.samples[-1]], outset.weighs_samples)
    with altered_steps(subject, setting.scheduler, walker.step):
        subject.draw(Setting(setting.steps, table), batch)
    weights = walker.sample_weights if outset.weighs_samples else None
    return replace(table, score_weights=walker.score_weights, sample_weights=weights)


class _Walker:
    """Weighs the scores of one run, step by step.

    Args:
        responses: see `frdiff.search.influence.responses`.
        places: where every step is to end, (samples, elements) each.
        weighs_samples: whether the sample may be weighed.

    Attributes:
        score_weights, sample_weights: chosen so far.
    """

    def __init__(
        self, responses: np.ndarray, places: Sequence[np.ndarray], weighs_samples: bool
    ) -> None:
        self._responses = responses
        self._places = places
        self._weighs_samples = weighs_samples
        self._moves: list[np.ndarray] = []  # the first sample, and the scores taken
        self._stored: list[Tensor] = []
        self.score_weights: list[list[float]] = []
        self.sample_weights: list[float] = []

    def step(self, score: Tensor, sample: Tensor) -> Tensor:
        """The score that the next step takes instead of `score`."""
        number = len(self.score_weights)
        if not number:
            self._moves.append(elements_of(sample, ELEMENTS))
        takes = self._responses[number, : number + 2]
        rest = sum(take * move for take, move in zip(takes, self._moves, strict=False))
        self._stored = [score, *self._stored][:MAX_WEIGHTS]
        terms = [*self._stored, *([sample] if self._weighs_samples else [])]
        weights = _fitted((self._places[number] - rest) / takes[-1], terms)
        taken = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        self._moves.append(elements_of(taken, ELEMENTS))
        self.sample_weights.append(weights.pop() if self._weighs_samples else 0.0)
        self.score_weights.append(weights)
        return taken


def _fitted(wanted: np.ndarray, terms: Sequence[Tensor]) -> list[float]:
    """Weights whose sum of terms is nearest to what is wanted, in the middle of the samples.

    They lower the mean over samples of the logarithm of the squared error, as decibels count it, by
    least squares weighed again with the errors of the last round.
    """
    columns = np.stack([elements_of(term, ELEMENTS) for term in terms], -1).astype(np.float64)
    missed = wanted - columns[..., 0]
    grams = np.einsum("sea,seb->sab", columns, columns)
    slopes = np.einsum("sea,se->sa", columns, missed)
    squares = (missed**2).sum(1)
    change = np.zeros(len(terms))
    for _ in range(ROUNDS):
        errors = squares - 2 * slopes @ change + np.einsum("a,sab,b->s", change, grams, change)
        share = 1 / np.maximum(errors, LEAST * squares.max() + np.finfo(float).tiny)
        gram = np.tensordot(share, grams, 1)
        scale = RIDGE * np.diag(np.diag(gram)) + np.finfo(float).tiny * np.eye(len(gram))
        change = np.linalg.solve(gram + scale, share @ slopes)
    weights = change + np.eye(len(terms))[0]
    if not np.isfinite(weights).all() or np.abs(weights).max() > MOST:
        weights = np.eye(len(terms))[0]
    return [round(float(weight), DIGITS) for weight in weights]
