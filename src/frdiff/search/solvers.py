"""Solvers a search may choose from, how long their runs are, and the converged solution."""

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from diffusers import SchedulerMixin

from frdiff.plan import Plan
from frdiff.policy import JumpPolicy, config_hash
from frdiff.sampling import REFUSALS
from frdiff.schedulers.named import (
    CONVERGED,
    CONVERGED_STEPS,
    adds_noise,
    flow_schedulers,
    interchangeable,
    is_flow,
)
from frdiff.search.measure import decibels, middle
from frdiff.search.schedules.space import in_full
from frdiff.search.subject import Batch, PipelineSubject, Subject, scheduler_of
from frdiff.setting import Setting

__all__ = ["Lengths", "Truth", "converged", "solvers_of"]

CHOICES = ("dpm++", "unipc", "dpm++karras", "unipckarras")
# What may come closest to the converged solution, and with how large a share of the steps. Two that
# agree must not err alike: solvers on the same noise levels share what the last of these leaves.
CONVERGING = ((CONVERGED, 1.0), ("unipckarras", 1.5), ("dpm++", 1.0), ("unipc", 1.5))
FLOWS_CONVERGING = (
    ("flow-unipc-karras", 1.0),
    ("flow-unipc-exponential", 1.5),
    ("flow-heun-karras", 0.75),
    ("flow-dpm++", 1.5),
)
NEARER = 3.0  # dB
ENOUGH = 60.0  # dB, beyond which no others are looked at
PLENTY = 85.0  # dB, beyond which half the steps do


def solvers_of(subject: Subject, allow_scheduler: bool) -> list[str | None]:
    """The solvers to choose from: None, the subject's own, and others that draw the same.

    For flow matching, solvers on the own noise levels and Euler on others; see `crossed` too.

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
    choices = flow_schedulers() if is_flow(subject.scheduler) else CHOICES
    others = [name for name in choices if _identity(scheduler_of(subject, name)) != own]
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
        drawn: steps of all the runs that were compared.
    """

    setting: Setting
    agreement: float | None = None
    drawn: int = 0


def converged(
    subject: Subject,
    num_steps: int,
    lengths: Callable[[str | None, int], int],
    draws: Callable[[Sequence[Setting]], Iterable[np.ndarray]],
) -> Truth:
    """The setting whose samples all others are measured against.

    Of several with many steps, whichever two agree best, and of those the cheaper. Where only the
    own scheduler draws the same, that is four times as many steps and twice as many, if they are
    nearer to one another than to the full run, which noise that is added would prevent.

    Args:
        lengths: of runs, see `Lengths`.
        draws: a few samples by each of some settings.
    """

    def setting(solver: str | None, steps: int) -> Setting:
        return Setting(steps, in_full(lengths(solver, steps)), solver)

    def nearness(one: Setting, other: Setting) -> float:
        new = [each for each in (one, other) if each not in compared]
        compared.update(zip(new, draws(new), strict=True))
        return middle(decibels(compared[one], compared[other], subject.peak))

    compared: dict[Setting, np.ndarray] = {}

    def truth(one: Setting, agreement: float | None = None) -> Truth:
        steps = sum(lengths(each.scheduler, each.steps) for each in compared)
        return Truth(one, agreement, steps)

    full = setting(None, num_steps)
    if not subject.takes_steps or adds_noise(subject.scheduler):
        return truth(full)
    if _interchangeable(subject):
        most = max(CONVERGED_STEPS, 2 * num_steps)
        shares = FLOWS_CONVERGING if is_flow(subject.scheduler) else CONVERGING
        for count, enough in ((most // 2, PLENTY), (most, ENOUGH)):
            best: tuple[float, Setting] = -np.inf, full
            works = [(solver, int(share * count)) for solver, share in shares]
            found = [setting(solver, steps) for solver, steps in works if lengths(solver, steps)]
            for one, other in itertools.combinations(found, 2):
                cheaper = min(one, other, key=lambda each: lengths(each.scheduler, each.steps))
                best = max(best, (nearness(one, other), cheaper), key=lambda pair: pair[0])
                if best[0] >= enough:
                    return truth(best[1], best[0])
                if count < most:
                    break  # half the steps are worth one look
        if best[1] is not full:
            return truth(best[1], best[0])
    limit = subject.scheduler.config.get("num_train_timesteps") or 4 * num_steps
    many, some = (setting(None, min(times * num_steps, limit)) for times in (4, 2))
    if many == some:  # the scheduler has no more
        return truth(full)
    agreement = nearness(many, some)
    converges = agreement >= nearness(many, full) + NEARER
    return truth(many, agreement) if converges else truth(full)


class Lengths:
    """How many steps a run takes, given the solver and `num_inference_steps`.

    Some schedulers round, some begin with more, and second-order ones evaluate twice; a pipeline
    that begins in the middle takes a part of them. What a scheduler says is believed if a run as
    long as the full one shows the same; elsewhere a run begins, and ends with its first step.

    Args:
        num_steps: `num_inference_steps` of the full run.
        batch: from which a sample is drawn.

    Raises:
        Exception: whatever the pipeline raises with its own scheduler.
    """

    def __init__(self, subject: Subject, num_steps: int, batch: Batch) -> None:
        self.subject = subject
        self.batch = batch.part(0, subject.per_call or 1)
        self.num_steps = num_steps
        self.known: dict[tuple[str | None, int], int] = {}
        self.believed: dict[str | None, bool] = {}
        self._meet(None, self._begun(None, num_steps))

    def __call__(self, solver: str | None, steps: int) -> int:
        """Of the run; 0 if there can be none, whatever is the reason."""
        if solver not in self.believed:
            self._meet(solver, self._tried(solver, self.num_steps))
        if not self.known[solver, self.num_steps]:
            return 0
        if (solver, steps) not in self.known:
            said = self._said(solver, steps) if self.believed[solver] else None
            self.known[solver, steps] = self._tried(solver, steps) if said is None else said
        return self.known[solver, steps]

    def _meet(self, solver: str | None, shown: int) -> None:
        self.known[solver, self.num_steps] = shown
        self.believed[solver] = self._said(solver, self.num_steps) == shown

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
