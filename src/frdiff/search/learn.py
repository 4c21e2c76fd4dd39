"""Learning: score weights of any sum, chosen so that the final samples are the converged ones.

A run whose steps are keyframes and jumps moves its sample by weighted sums of scores, whatever the
solver: it is a non-stationary multistep solver, and its weights can be learnt (bespoke solvers:
Shaul et al., ICML 2024, arXiv 2403.01329; S4S: Frankel et al., ICML 2025, arXiv 2502.17423). Others
do that by gradient descent through the loop. There are few weights and many pixels, so here it is
nonlinear least squares, by Levenberg and Marquardt's method: how the final samples change with
every weight is seen by changing it, in runs that compute nothing before the change, and afterwards
from every step taken (Broyden, 1965). It needs no gradients, so it works through any pipeline, and
in no more memory than sampling; and it takes less than half the network calls that Adam does
(`docs/search.md`).

Weights that sum to other than 1 make a step longer or shorter than the noise levels say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from frdiff.plan import Action
from frdiff.policy import TablePolicy
from frdiff.policy.table import MAX_WEIGHTS
from frdiff.search.space import table_of
from frdiff.search.subject import Batch, PipelineSubject, Subject
from frdiff.search.tape import taped
from frdiff.setting import Setting

__all__ = ["Learnt", "learn_weights"]

ELEMENTS = 8192  # per sample, of final latents
CHANGE = 1e-2  # of a weight, to see what it does
LONGEST = 0.5  # by which a weight changes at a time
DAMPING = 0.1  # at first; less after a step that gains, more after one that does not
EASE, TIGHTEN = 0.3, 10.0
ALIKE = 0.03
PATIENCE = 3  # steps that gain nothing before all is looked at anew
GAIN = 0.03  # of the mean logarithm of squared errors: 0.13 dB
NEAR = 0.5  # above the best loss, within which a step says something of the slopes
SHARE = 0.6  # of what may be spent, for the first look at all weights
DIGITS = 7
TINY = 1e-12  # of the largest error, which counts as none


@dataclass(frozen=True)
class Learnt:
    """What learning came to.

    Attributes:
        rows: score weights of every step.
        spent: on it, in steps computed of all samples.
    """

    rows: list[list[float]]
    spent: float


def learn_weights(
    subject: Subject,
    setting: Setting,
    batches: Sequence[Batch],
    wanted: Sequence[np.ndarray],
    allowed: float,
    on_round: Callable[[float], None] = lambda share: None,
) -> Learnt | None:
    """Score weights for the table of a setting, learnt from where they are; None if not paid for.

    Args:
        batches: the samples to learn from.
        wanted: final latents of the converged solution, batch by batch.
        allowed: steps computed of all of them, at most.
        on_round: called with the share of it that is spent.
    """
    weights = _Weights.within(table_of(setting), SHARE * allowed)
    if weights is None:
        return None
    drawing = replace(subject, latents=True) if isinstance(subject, PipelineSubject) else subject
    true = np.concatenate([*map(_elements, wanted)])
    with taped(drawing, setting.scheduler, weights.table.num_steps) as tape:

        def errors(values: np.ndarray, known: int | None = None) -> np.ndarray:
            """What the final samples are off by, (samples, elements)."""
            if known is None:
                tape.record()
            else:
                tape.play(known)
            made = Setting(setting.steps, weights.policy(values))
            return np.concatenate([_elements(drawing.draw(made, b)) for b in batches]) - true

        values, spent = _least(errors, weights, allowed, on_round)
    return Learnt(weights.rows(values), spent)


def _elements(latents: np.ndarray) -> np.ndarray:
    """A fixed part of every sample's elements."""
    flat = latents.reshape(len(latents), -1)
    return flat[:, :: max(1, flat.shape[1] // ELEMENTS)].astype(np.float64)


@dataclass(frozen=True)
class _Weights:
    """The weights that are learnt: a change of each, the same in all steps up to the next keyframe.

    Attributes:
        table: with the weights to begin with.
        places: of each weight, the keyframe whose steps it is for, and its age: 0 for that
            keyframe's own score, 1 for that of the one before.
    """

    table: TablePolicy
    places: Sequence[tuple[int, int]]

    @classmethod
    def within(cls, table: TablePolicy, allowed: float) -> "_Weights | None":
        """As many ages as a look at all weights pays for; None if not even the youngest."""
        keyframes = table.plan(table.num_steps).keyframes
        for depth in range(MAX_WEIGHTS, 0, -1):
            places = [
                (key, age) for i, key in enumerate(keyframes) for age in range(min(i + 1, depth))
            ]
            found = cls(table, places)
            if found.look_cost <= allowed:
                return found
        return None

    @property
    def run_cost(self) -> float:
        """Of a run, in steps computed."""
        return sum(step.action is not Action.JUMP for step in self.table.plan(self.table.num_steps))

    @property
    def look_cost(self) -> float:
        """Of seeing what every weight does."""
        return self.run_cost + sum(map(self.cost, range(len(self.places))))

    def cost(self, place: int) -> float:
        """Of the part of a run that changes with a weight."""
        plan = self.table.plan(self.table.num_steps)
        return sum(step.action is not Action.JUMP for step in plan.steps[self.known(place) :])

    def known(self, place: int) -> int:
        """Steps of a run that do not change with a weight."""
        return self.places[place][0] + 1

    def rows(self, values: np.ndarray) -> list[list[float]]:
        """Score weights of every step, with the changes given."""
        table = self.table
        rows = [list(row) for row in table.score_weights or [(1.0,)] * table.num_steps]
        plan = table.plan(table.num_steps)
        ends = dict(pairwise([*plan.keyframes, len(plan)]))
        for (key, age), value in zip(self.places, values, strict=True):
            for step in range(key, ends[key]):
                if plan[step].action is Action.REUSE:
                    continue  # it takes the score that it computes
                row = rows[step]
                row += [0.0] * (age + 1 - len(row))
                row[age] += value
        return [[round(float(weight), DIGITS) for weight in row] for row in rows]

    def policy(self, values: np.ndarray) -> TablePolicy:
        """The table with these changes."""
        return replace(self.table, score_weights=self.rows(values), origin=None)


def _least(
    errors: Callable[..., np.ndarray],
    weights: _Weights,
    allowed: float,
    on_round: Callable[[float], None],
) -> tuple[np.ndarray, float]:
    """The changes of weights that make errors least, and the steps spent on finding them."""
    count = len(weights.places)
    look = weights.look_cost
    values, best, spent = np.zeros(count), np.inf, 0.0
    while spent + look + weights.run_cost <= allowed:
        before = best
        now = errors(values)
        best = _loss(now)
        slopes = np.empty((*now.shape, count))
        for place in range(count):
            changed = values.copy()
            changed[place] += CHANGE
            slopes[..., place] = (errors(changed, weights.known(place)) - now) / CHANGE
            spent += weights.cost(place)
            on_round(spent / allowed)
        spent += weights.run_cost
        if not (np.isfinite(slopes).all() and np.isfinite(best)):
            break
        failed, damping = 0, DAMPING
        while failed < PATIENCE and spent + weights.run_cost <= allowed:
            change = _change(slopes, now, damping)
            found = errors(values + change, 0)
            spent += weights.run_cost
            on_round(spent / allowed)
            loss = _loss(found)
            if loss < best + NEAR:
                # What was not foreseen is put down to the change (Broyden's update).
                unforeseen = found - now - slopes @ change
                slopes += unforeseen[..., None] * (change / (change @ change))
            if loss < best:
                failed = failed + 1 if best - loss < GAIN else 0
                values, now, best = values + change, found, loss
                damping *= EASE
            else:
                failed += 1
                damping *= TIGHTEN
        if before - best < GAIN:
            break
    return values, spent


def _loss(errors: np.ndarray) -> float:
    """The mean over samples of the logarithm of the squared error, as decibels count it."""
    squares = _squares(errors)
    return float(np.log(squares).mean()) if np.isfinite(squares).all() else np.inf


def _squares(errors: np.ndarray) -> np.ndarray:
    """The mean squared error of every sample, above 0."""
    squares = (errors**2).mean(axis=1)
    return np.maximum(squares, TINY * squares.max() + np.finfo(float).tiny)


def _change(slopes: np.ndarray, errors: np.ndarray, damping: float) -> np.ndarray:
    """The damped step of least squares, every sample weighed so that the loss falls."""
    shares = 1 / _squares(errors)
    normal = np.einsum("sep,seq,s->pq", slopes, slopes, shares, optimize=True)
    slope = np.einsum("sep,se,s->p", slopes, errors, shares, optimize=True)
    # Marquardt's scale lets weights that do little change much, so all are damped a little alike.
    scale = np.diag(normal) + ALIKE * np.trace(normal) / len(normal) + np.finfo(float).tiny
    change = -np.linalg.solve(normal + damping * np.diag(scale), slope)
    return np.clip(change, -LONGEST, LONGEST)
