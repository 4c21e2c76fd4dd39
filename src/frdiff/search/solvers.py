"""Solvers a search may choose from, how long their runs are, and the converged solution."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from diffusers import SchedulerMixin

from frdiff.plan import Plan
from frdiff.policy import JumpPolicy, config_hash
from frdiff.sampling import REFUSALS
from frdiff.schedulers import CONVERGED, CONVERGED_STEPS, interchangeable, scheduler_name
from frdiff.search.measure import decibels, middle
from frdiff.search.space import in_full
from frdiff.search.subject import Batch, PipelineSubject, Subject, scheduler_of
from frdiff.setting import Setting

__all__ = ["Lengths", "Truth", "converged", "solvers_of"]

CHOICES = ("dpm++", "unipc", "dpm++karras", "unipckarras")
# What may come closest to the converged solution, and with how large a share of the steps. Two that
# agree must not err alike: solvers on the same noise levels share what the last of these leaves.
CONVERGING = ((CONVERGED, 1.0), ("unipckarras", 1.5), ("dpm++", 1.0), ("unipc", 1.5))
NEARER = 3.0  # dB


def solvers_of(subject: Subject, allow_scheduler: bool) -> list[str | None]:
    """The solvers to choose from: None, the subject's own, and others that draw the same.

    Raises:
        ValueError: others are allowed, and the subject's own cannot be replaced.
    """
    if not allow_scheduler:
        return [None]
    if not _interchangeable(subject):
        raise ValueError(
            f"{type(subject.scheduler).__name__} has no other scheduler that draws the same; "
            "leave allow_scheduler out"
        )
    own = _identity(subject.scheduler)
    others = [name for name in CHOICES if _identity(scheduler_of(subject, name)) != own]
    return [None, *others]


def _interchangeable(subject: Subject) -> bool:
    return isinstance(subject, PipelineSubject) and interchangeable(subject.scheduler)


def _identity(scheduler: SchedulerMixin) -> tuple[str, str]:
    return type(scheduler).__name__, config_hash(scheduler)


@dataclass(frozen=True)
class Truth:
    """What stands for the converged solution.

    Attributes:
        setting: with many steps; the full run itself where nothing is known to come closer.
        agreement: how near another setting with many steps comes to it, in dB: what lies above
            cannot be told; None for the full run itself.
    """

    setting: Setting
    agreement: float | None = None


def converged(
    subject: Subject,
    num_steps: int,
    lengths: Callable[[str | None, int], int],
    draw: Callable[[Setting], np.ndarray],
) -> Truth:
    """The setting whose samples all others are measured against.

    Of several with many steps, whichever two agree best, and of those the cheaper. Where only the
    own scheduler draws the same, that is four times as many steps and twice as many, if they are
    nearer to one another than to the full run, which noise that is added would prevent.

    Args:
        lengths: of runs, see `Lengths`.
        draw: a few samples.
    """

    def setting(solver: str | None, steps: int) -> Setting:
        return Setting(steps, in_full(lengths(solver, steps)), solver)

    full = setting(None, num_steps)
    if not subject.takes_steps or _adds_noise(subject):
        return Truth(full)
    most = max(CONVERGED_STEPS, 2 * num_steps)
    if _interchangeable(subject):
        found = [setting(solver, int(share * most)) for solver, share in CONVERGING]
    else:
        limit = subject.scheduler.config.get("num_train_timesteps") or 4 * num_steps
        counts = sorted({min(times * num_steps, limit) for times in (4, 2)}, reverse=True)
        found = [setting(None, steps) for steps in counts]
    samples = [draw(one) for one in found]

    def agreement(first: np.ndarray, second: np.ndarray) -> float:
        return middle(decibels(first, second, subject.peak))

    pairs = list(itertools.combinations(range(len(found)), 2))
    best, (one, other) = max(
        ((agreement(samples[i], samples[k]), (i, k)) for i, k in pairs), default=(0.0, (0, 0))
    )
    if not pairs or best < agreement(samples[one], draw(full)) + NEARER:
        return Truth(full)
    first, second = found[one], found[other]
    cheaper = min(first, second, key=lambda each: lengths(each.scheduler, each.steps))
    return Truth(cheaper if _interchangeable(subject) else first, best)


def _adds_noise(subject: Subject) -> bool:
    """Whether the scheduler is known to: a named one that is not interchangeable."""
    known = scheduler_name(subject.scheduler) is not None
    return known and not interchangeable(subject.scheduler)


class Lengths:
    """How many steps a run takes, given the solver and `num_inference_steps`.

    Some schedulers round, some begin with more, and second-order ones evaluate twice; a pipeline
    that begins in the middle takes a part of them. What the scheduler says is believed where it
    says the same of the full run as that shows; elsewhere a run begins, and ends with its first
    step.

    Args:
        num_steps: `num_inference_steps` of the full run.
        batch: from which a sample is drawn.
    """

    def __init__(self, subject: Subject, num_steps: int, batch: Batch) -> None:
        self.subject = subject
        self.batch = Batch(batch.seed, batch.prompts[: subject.per_call or 1])
        full = self._begun(None, num_steps)
        self.believed = self._said(None, num_steps) == full
        self.known: dict[tuple[str | None, int], int] = {(None, num_steps): full}

    def __call__(self, solver: str | None, steps: int) -> int:
        """Of the run; 0 if there can be none."""
        if (solver, steps) not in self.known:
            said = self._said(solver, steps) if self.believed else None
            self.known[solver, steps] = self._tried(solver, steps) if said is None else said
        return self.known[solver, steps]

    def _said(self, solver: str | None, steps: int) -> int | None:
        """By the scheduler; None if it wants to know more, as flow matching does."""
        scheduler = copy.deepcopy(scheduler_of(self.subject, solver))
        try:
            scheduler.set_timesteps(steps)
        except (TypeError, ValueError):
            return None
        return len(scheduler.timesteps)

    def _tried(self, solver: str | None, steps: int) -> int:
        try:
            return self._begun(solver, steps)
        except REFUSALS:
            return 0

    def _begun(self, solver: str | None, steps: int) -> int:
        try:
            self.subject.draw(Setting(steps, _Counting(1), solver), self.batch)
        except _Counted as counted:
            return counted.steps
        return 0


class _Counted(Exception):
    """Carries the number of steps out of a run."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.steps = steps


class _Counting(JumpPolicy):
    """Ends a run as soon as its number of steps is known."""

    def plan(self, num_steps: int) -> Plan:
        raise _Counted(num_steps)
