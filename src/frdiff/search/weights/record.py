"""Recordings: inner products of the features of a full run, from which forecasts are fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from frdiff.adapters import Features, Target, find_targets, watched
from frdiff.bank.forecast import extrapolation_weights
from frdiff.choices import OVERHEAD
from frdiff.policy import JumpPolicy, Targets, UniformPolicy
from frdiff.policy.conditions import Conditions
from frdiff.run.applying import Run
from frdiff.search.schedules.paths import gap_costs, step_sizes
from frdiff.search.schedules.prices import Prices, prices_of
from frdiff.search.subject import Batch, Subject, altered_scores, scheduler_of
from frdiff.search.weights.fit import fit_weights
from frdiff.search.weights.influence import influences
from frdiff.setting import Setting

__all__ = ["Recording", "elements_of", "record"]

ELEMENTS = 1024  # per sample and feature; of them three weights are fitted
SCORE_ELEMENTS = 4096
MOST_STEPS = 300  # of a run for which all gaps are weighed; memory grows with the third power


@dataclass(frozen=True)
class Recording:
    """What a full run showed.

    Attributes:
        grams: by target, in the order in which they run, the inner products (steps, steps) of its
            features at every two steps, over a fixed part of their elements; none if the
            denoiser's calls do not divide evenly into steps.
        scores: of every step as the solver got it, a fixed part of their elements, shape (steps,
            samples, elements).
        levels: logarithm of the noise level of every step; none if the scheduler tells none.
        prices: of the targets, in that order too.
        influence: of every step, see `frdiff.search.weights.influence`; None if it cannot be told.
        conditions: that the run was made under.
    """

    grams: Mapping[str, np.ndarray]
    scores: np.ndarray
    levels: Sequence[float]
    prices: Prices
    influence: np.ndarray | None = None
    conditions: Conditions | None = None

    @property
    def steps(self) -> int:
        """Of the run."""
        return len(self.scores)

    @cached_property
    def score_gram(self) -> np.ndarray:
        """The inner products (steps, steps) of the scores."""
        return _gram([*self.scores], self.steps)

    def path_costs(self) -> np.ndarray | None:
        """What gaps between keyframes cost, for `shortest_path`; None if that cannot be told."""
        if self.steps > MOST_STEPS:
            return None
        sizes = step_sizes(self.levels) if len(self.levels) else np.ones(self.steps)
        return gap_costs(self.score_gram, sizes)

    def score_weights(
        self, keyframes: Sequence[int], depth: int, fitted: bool = True
    ) -> list[list[float]]:
        """Weights of the last keyframes' scores, per step; [1.0] where there is one to weigh.

        Args:
            depth: scores weighed at most.
            fitted: to this run; those of extrapolation in the step index otherwise.
        """
        rows: list[list[float]] = []
        for step in range(self.steps):
            stored = _last(keyframes, step, depth)
            if step in keyframes or len(stored) < 2:
                rows.append([1.0])
            elif fitted:
                rows.append(_fitted(self.score_gram, step, stored))
            else:
                rows.append(extrapolation_weights(stored, step))
        return rows

    def weights(self, keyframes: Sequence[int], depth: int) -> list[list[list[float]] | None]:
        """Fitted forecast weights, per step and target as `TablePolicy` takes them.

        Steps before the third keyframe, where nothing can be fitted, and keyframes have None.

        Args:
            depth: features weighed at most.
        """
        return [
            None if step in keyframes else self._weights_at(step, _last(keyframes, step, depth))
            for step in range(self.steps)
        ]

    def _weights_at(self, step: int, stored: list[int]) -> list[list[float]] | None:
        if len(stored) < 2 or not self.grams:
            return None
        return [_fitted(gram, step, stored) for gram in self.grams.values()]


def _last(keyframes: Sequence[int], step: int, depth: int) -> list[int]:
    """The keyframes before a step that are still stored, newest first."""
    return [key for key in reversed(keyframes) if key < step][:depth]


def _fitted(gram: np.ndarray, step: int, stored: list[int]) -> list[float]:
    """Weights near those of linear extrapolation from the two steps stored last."""
    prior = extrapolation_weights(stored[:2], step) + [0.0] * (len(stored) - 2)
    places = np.ix_([step, *stored], [step, *stored])
    return fit_weights(gram[places], prior)


def record(
    subject: Subject, setting: Setting, batch: Batch, targets: Targets, overhead: float | None
) -> Recording:
    """What a full run of `setting`, its policy left aside, shows of `targets`.

    Args:
        batch: drawn in one pipeline call.
        targets: see `Policy`; none shows scores alone, and needs no MACs.

    Raises:
        ValueError: there are no such targets, or MACs cannot be counted.
        TypeError: what a target returns cannot be stored.
    """
    # The order of the names is that in which the targets ran.
    rows: dict[str, list[np.ndarray]] = {}
    scores: list[np.ndarray] = []

    def keep(target: Target, features: Features) -> None:
        streams = [elements_of(feature, ELEMENTS).reshape(-1) for feature in features]
        rows.setdefault(target.name, []).append(np.concatenate(streams))

    def keep_score(score: Tensor) -> Tensor:
        scores.append(elements_of(score))
        return score

    found = [
        target
        for denoiser in subject.denoisers
        if targets
        for target in find_targets(denoiser, targets)
    ]
    ended: list[tuple[int, int, Prices, list[float], Conditions | None]] = []

    def on_run(run: Run) -> None:
        base = OVERHEAD if overhead is None else overhead
        prices = prices_of(run, overhead) if targets else Prices({}, base)
        planned = run.stats.steps if run.plan is None else len(run.plan)
        ended.append((run.stats.steps, planned, prices, run.noise_levels, run.conditions))

    policy = UniformPolicy(1, targets=targets) if targets else JumpPolicy(1)
    full = Setting(setting.steps, policy)
    with watched(found, keep), altered_scores(subject, setting.scheduler, keep_score) as timings:
        subject.draw(full, batch, on_run)
    ((steps, planned, prices, levels, conditions),) = ended
    even = all(len(features) % steps == 0 for features in rows.values())
    grams = {name: _gram(features, steps) for name, features in rows.items()} if even else {}
    # A pipeline may end before its scheduler; nothing changes in the steps that are left.
    left = planned - steps
    grams = {name: np.pad(gram, (0, left), "edge") for name, gram in grams.items()}
    seen = np.stack(scores[-steps:] + scores[-1:] * left)
    timed = scheduler_of(subject, setting.scheduler)
    influence = None if left else influences(timed, timings[-1], steps)
    ordered = {name: prices.saved[name] for name in rows}
    priced = replace(prices, saved=ordered)
    return Recording(grams, seen, levels, priced, influence, conditions)


def elements_of(values: Tensor, most: int = SCORE_ELEMENTS) -> np.ndarray:
    """A fixed part of every sample's elements, shape (samples, elements), float32 on the CPU.

    Args:
        most: about as many, fewer than twice, or all.
    """
    flat = values.detach().flatten(1)
    part = flat[:, :: max(1, flat.shape[1] // most)]
    return part.to(torch.float32, copy=True).numpy(force=True)


def _gram(rows: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Inner products between steps; the calls of one step count together."""
    features = np.stack(rows).reshape(steps, -1).astype(np.float64)
    return features @ features.T
