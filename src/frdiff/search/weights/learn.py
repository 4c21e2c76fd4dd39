"""Learning: scores weighed, and levels placed, so that the final samples are the converged ones.

A run whose steps are keyframes and jumps moves its sample by weighted sums of scores, whatever the
solver: it is a non-stationary multistep solver, and its weights and times can be learnt (bespoke
solvers: Shaul et al., ICML 2024, arXiv 2403.01329; S4S: Frankel et al., ICML 2025, arXiv
2502.17423). Others do that by gradient descent through the loop. There are few numbers and many
pixels, so here it is nonlinear least squares, by Levenberg and Marquardt's method: how the final
samples change with every number is seen by changing it, in runs that compute nothing before the
change, and afterwards from every step taken (Broyden, 1965). A few samples are looked at after
another, each from where those before have led, and all that were looked at count (the incremental
Gauss-Newton method: Bertsekas, SIAM J. Optim. 1996). It needs no gradients, so it works through any
pipeline, and in no more memory than sampling; and it takes a small part of the network calls that
Adam does (`docs/search.md`).

What is learnt of each keyframe (`frdiff.search.weights.freedoms`): the weights of the scores, which
may sum to anything, since a step is as long as its score; the weight of the sample; the noise
level.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frdiff.policy import RangePolicy, TablePolicy
from frdiff.policy.ranges import shares_at
from frdiff.run.applying import Run
from frdiff.search.schedules.space import table_of
from frdiff.search.subject import (
    Batch,
    LoopSubject,
    PipelineSubject,
    Subject,
    guidance_range,
)
from frdiff.search.weights.freedoms import Freedoms, Kinds
from frdiff.search.weights.tape import Tape, taped
from frdiff.setting import Setting

__all__ = ["Learnt", "learn_table"]

ELEMENTS = 8192  # per sample, of final latents
LOOKED = 4  # samples at a time
CHANGE = 1e-2  # of a number, to see what it does
LONGEST = 0.5  # by which a number changes at a time
DAMPING = 0.1  # at first; less after a step that gains, more after one that does not
EASE, TIGHTEN = 0.3, 10.0
ALIKE = 0.03
PATIENCE = 3  # steps that gain nothing before others are looked at
STEPS = 5  # before others are looked at, at most
GAIN = 0.03  # of the mean logarithm of squared errors: 0.13 dB
NEAR = 0.5  # above the best loss, within which a step says something of the slopes
# Times what may be spent, at most: a look at all numbers of all samples. What a look at a few
# samples at a time must do for is learnt only where nothing is for less.
LOOKS = 1.2, 2.0
TINY = 1e-12  # of the largest error, which counts as none


@dataclass(frozen=True)
class Learnt:
    """What learning came to.

    Attributes:
        policy: as learnt: a table, or one for every guidance of a range.
        spent: on it, in steps computed of all samples.
    """

    policy: TablePolicy | RangePolicy
    spent: float


def learn_table(
    subject: Subject,
    setting: Setting,
    batches: Sequence[Batch],
    wanted: Sequence[np.ndarray],
    allowed: float,
    on_round: Callable[[float], None] = lambda share: None,
) -> Learnt | None:
    """The table of a setting with its numbers learnt; None if that is not paid for.

    Args:
        batches: the samples to learn from. Where they are drawn at several guidance scales, what is
            learnt follows the scale.
        wanted: final latents of the converged solution, batch by batch.
        allowed: steps computed of all of them, at most.
        on_round: called with the share of it that is spent.
    """
    drawing = replace(subject, latents=True) if isinstance(subject, PipelineSubject) else subject
    table = table_of(setting)
    with taped(drawing, setting.scheduler, table.num_steps) as tape:
        kinds = _kinds(drawing, setting.steps, table, batches[0], tape)
        found = (Freedoms.within(table, kinds, look * allowed) for look in LOOKS)
        freedoms = next(filter(None, found), None)
        if freedoms is None:
            return None
        scales = _scales(batches)
        parts = [
            _Part(
                drawing,
                setting.steps,
                replace(freedoms, table=_begun(setting, batch.guidance)),
                tape,
                batch,
                true,
                _shares(scales, batch.guidance),
            )
            for batch, true in _split(subject, batches, wanted)
        ]
        least = _Least(parts, freedoms, allowed, on_round)
        least.run()
    if not scales:
        return Learnt(freedoms.policy(least.values[0]), least.spent)
    at = setting.policy.guidances if isinstance(setting.policy, RangePolicy) else scales
    tables = [
        replace(freedoms, table=_begun(setting, scale)).policy(
            _shares(scales, scale) @ least.values
        )
        for scale in at
    ]
    return Learnt(RangePolicy(at, tables), least.spent)


def _begun(setting: Setting, guidance: float | None) -> TablePolicy:
    """The table that samples are drawn with before anything is learnt."""
    if isinstance(setting.policy, RangePolicy) and guidance is not None:
        return setting.policy.at(guidance)
    return table_of(setting)


def _kinds(subject: Subject, steps: int, table: TablePolicy, batch: Batch, tape: Tape) -> Kinds:
    """What may be chosen beside score weights, as a run shows."""
    seen: list[list[float] | None] = []

    def look(run: Run) -> None:
        seen.append(run.noise_levels if run.takes_noise_levels else None)

    one = batch.part(0, subject.per_call or 1)
    tape.record()
    subject.draw(Setting(steps, replace(table, origin=None)), one, look)
    levels = seen[0] if subject.takes_steps else None
    return Kinds(None if levels is None else [round(level, 7) for level in levels], tape.alike)


def _split(
    subject: Subject, batches: Sequence[Batch], wanted: Sequence[np.ndarray]
) -> list[tuple[Batch, np.ndarray]]:
    """A few samples at a time, with what they should be; a loop draws whole batches."""
    if isinstance(subject, LoopSubject):
        return list(zip(batches, wanted, strict=True))
    size = max(LOOKED, subject.per_call or 1)
    return [
        (batch.part(i, i + size), true[i : i + size])
        for batch, true in zip(batches, wanted, strict=True)
        for i in range(0, len(batch.prompts), size)
    ]


def _scales(batches: Sequence[Batch]) -> list[float]:
    """The ends of the guidance scales that samples are drawn at; none if they are alike."""
    ends = {*(guidance_range(batches) or ())}
    return sorted(ends) if len(ends) > 1 else []


def _shares(scales: Sequence[float], guidance: float | None) -> np.ndarray:
    """How much of the changes learnt at each of some scales counts at one."""
    if not scales or guidance is None:
        return np.ones(1)
    return np.array(shares_at(scales, guidance))


class _Part:
    """Some of the samples: what they are off by, and how that changes with every number.

    Args:
        shares: how much of each table's changes make up those that these samples are drawn with.

    Attributes:
        shares: as given.
        errors: of the final samples, (samples, elements), at the numbers chosen so far.
        slopes: of the errors, (samples, elements, numbers); empty before the first look.
    """

    def __init__(
        self,
        subject: Subject,
        steps: int,
        freedoms: Freedoms,
        tape: Tape,
        batch: Batch,
        true: np.ndarray,
        shares: np.ndarray,
    ) -> None:
        self.shares = shares
        self._subject = subject
        self._steps = steps
        self._freedoms = freedoms
        self._tape = tape
        self._batch = batch
        self._true = _elements(true)
        self.errors = np.zeros_like(self._true)
        self.slopes = np.empty((*self.errors.shape, 0))

    def __len__(self) -> int:
        return len(self._true)

    def look(self, values: np.ndarray, on_number: Callable[[int], None]) -> None:
        """See what every number does from here on; `on_number` is told of each."""
        self._tape.record()
        self.errors = self._drawn(values)
        slopes = np.empty((*self.errors.shape, len(self._freedoms)))
        for number in range(len(self._freedoms)):
            changed = values.copy()
            changed[:, number] += CHANGE  # of all tables, so also of what they make together
            self._tape.play(self._freedoms.known(number))
            slopes[..., number] = (self._drawn(changed) - self.errors) / CHANGE
            on_number(number)
        self.slopes = slopes

    def tried(self, values: np.ndarray) -> np.ndarray:
        """What the samples would be off by."""
        self._tape.play(0)
        return self._drawn(values)

    def _drawn(self, values: np.ndarray) -> np.ndarray:
        made = Setting(self._steps, self._freedoms.policy(self.shares @ values))
        return _elements(self._subject.draw(made, self._batch)) - self._true

    def learn(self, change: np.ndarray, found: np.ndarray) -> None:
        """Put what the slopes did not foresee of a change down to it (Broyden's update)."""
        own = self.shares @ change
        unforeseen = found - self.errors - self.slopes @ own
        self.slopes += unforeseen[..., None] * (own / (own @ own))


def _elements(latents: np.ndarray) -> np.ndarray:
    """A fixed part of every sample's elements."""
    flat = latents.reshape(len(latents), -1)
    return flat[:, :: max(1, flat.shape[1] // ELEMENTS)].astype(np.float64)


class _Least:
    """A search for the changes that make errors least.

    Attributes:
        values: the changes chosen so far, shape (tables, numbers).
        spent: steps computed to find them, of all samples.
        looked: the samples that were looked at.
    """

    def __init__(
        self,
        parts: Sequence[_Part],
        freedoms: Freedoms,
        allowed: float,
        on_round: Callable[[float], None],
    ) -> None:
        self.values = np.zeros((len(parts[0].shares), len(freedoms)))
        self.spent = 0.0
        self.looked: list[_Part] = []
        self._parts = parts
        self._freedoms = freedoms
        self._allowed = allowed
        self._on_round = on_round
        self._total = sum(map(len, parts))

    def run(self) -> None:
        """Look at one part after another, from where those before have led, as long as it pays."""
        for turn in itertools.count():
            part = self._parts[turn % len(self._parts)]
            if not self._pays_for([part], self._freedoms.look_cost, [*self.looked, part]):
                return
            self._look(part)
            gain = self._improve()
            if not np.isfinite(gain) or (turn >= len(self._parts) and gain < GAIN):
                return

    def _look(self, part: _Part) -> None:
        def on_number(number: int) -> None:
            self._spend([part], self._freedoms.cost(number))

        self._spend([part], self._freedoms.run_cost)
        part.look(self.values, on_number)
        if part not in self.looked:
            self.looked.append(part)

    def _improve(self) -> float:
        """Take steps until they gain nothing; how much the loss fell."""
        begun = best = _loss([part.errors for part in self.looked])
        if not np.isfinite(best) or not all(np.isfinite(part.slopes).all() for part in self.looked):
            return np.inf
        most = STEPS if len(self.looked) < len(self._parts) else np.inf
        taken, failed, damping = 0, 0, DAMPING
        while failed < PATIENCE and taken < most and self._pays_for((), 0, self.looked):
            taken += 1
            change = _change(self.looked, damping)
            if not change.any():  # no number shows in what is drawn, as where that is tokens
                break
            found = _tried(self.looked, self.values + change)
            self._spend(self.looked, self._freedoms.run_cost)
            loss = _loss(found)
            if loss < best + NEAR:
                for part, errors in zip(self.looked, found, strict=True):
                    part.learn(change, errors)
            if loss < best:
                failed = failed + 1 if best - loss < GAIN else 0
                self.values, best = self.values + change, loss
                for part, errors in zip(self.looked, found, strict=True):
                    part.errors = errors
                damping *= EASE
            else:
                failed += 1
                damping *= TIGHTEN
        return begun - best

    def _spend(self, parts: Sequence[_Part], steps: float) -> None:
        self.spent += self._share(parts) * steps
        self._on_round(self.spent / self._allowed)

    def _pays_for(self, parts: Sequence[_Part], steps: float, run: Sequence[_Part]) -> bool:
        """Whether what is left pays for so many steps of some parts, and a run of others."""
        wanted = self._share(parts) * steps + self._share(run) * self._freedoms.run_cost
        return self.spent + wanted <= self._allowed

    def _share(self, parts: Sequence[_Part]) -> float:
        return sum(map(len, parts)) / self._total


def _tried(parts: Sequence[_Part], values: np.ndarray) -> list[np.ndarray]:
    """What all samples would be off by; not finite where a number is out of its range."""
    try:
        return [part.tried(values) for part in parts]
    except ValueError:
        return [np.full_like(part.errors, np.nan) for part in parts]


def _loss(errors: Sequence[np.ndarray]) -> float:
    """The mean over samples of the logarithm of the squared error, as decibels count it."""
    squares = _squares(np.concatenate(errors))
    return float(np.log(squares).mean()) if np.isfinite(squares).all() else np.inf


def _squares(errors: np.ndarray) -> np.ndarray:
    """The mean squared error of every sample, above 0."""
    squares = (errors**2).mean(axis=1)
    return np.maximum(squares, TINY * squares.max() + np.finfo(float).tiny)


def _change(parts: Sequence[_Part], damping: float) -> np.ndarray:
    """The damped step of least squares, every sample weighed so that the loss falls."""
    shape = len(parts[0].shares), parts[0].slopes.shape[-1]
    normal, slope = np.zeros((math.prod(shape),) * 2), np.zeros(math.prod(shape))
    for part in parts:
        # Rows of the least squares: a sample's elements by the root of what it counts.
        root = np.sqrt(1 / _squares(part.errors))[:, None]
        rows = (part.slopes * root[..., None]).reshape(-1, shape[1])
        normal += np.kron(np.outer(part.shares, part.shares), rows.T @ rows)
        slope += np.kron(part.shares, rows.T @ (part.errors * root).ravel())
    # Marquardt's scale lets numbers that do little change much, so all are damped a little alike.
    scale = np.diag(normal) + ALIKE * np.trace(normal) / len(normal) + np.finfo(float).tiny
    change = -np.linalg.solve(normal + damping * np.diag(scale), slope)
    return np.clip(change, -LONGEST, LONGEST).reshape(shape)
