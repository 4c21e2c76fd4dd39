"""Solvers a search may choose from, how long their runs are, and the converged solution."""

import copy

from diffusers import SchedulerMixin

from frdiff.policy import config_hash
from frdiff.sampling import (
    CONVERGED,
    CONVERGED_STEPS,
    interchangeable,
    scheduler_name,
)
from frdiff.search.space import in_full
from frdiff.search.subject import PipelineSubject, Subject, scheduler_of
from frdiff.setting import Setting

__all__ = ["converged", "run_length", "solvers_of"]

CHOICES = ("dpm++", "unipc", "dpm++karras", "unipckarras")


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


def _identity(scheduler: SchedulerMixin) -> tuple[str, str]:
    return type(scheduler).__name__, config_hash(scheduler)


def converged(subject: Subject, num_steps: int) -> Setting:
    """The setting whose samples all others are measured against.

    DPM-Solver++ on Karras' noise levels with 100 steps, or twice `num_steps`, where it draws the
    same; the own scheduler with four times as many steps where it is not known to add noise; else
    the full run itself, as for hand-written loops.
    """
    steps, solver = num_steps, None
    if _interchangeable(subject):
        steps, solver = max(CONVERGED_STEPS, 2 * num_steps), CONVERGED
    elif isinstance(subject, PipelineSubject) and scheduler_name(subject.scheduler) is None:
        steps = 4 * num_steps
    return Setting(steps, in_full(run_length(subject, solver, steps)), solver)


def run_length(subject: Subject, solver: str | None, steps: int) -> int:
    """How many steps a run takes with `num_inference_steps=steps`.

    Some schedulers round, some begin with more, and second-order ones evaluate twice.
    """
    scheduler = copy.deepcopy(scheduler_of(subject, solver))
    try:
        scheduler.set_timesteps(steps)
    except (TypeError, ValueError):
        return steps  # it wants to know the size of the picture, as flow matching does
    return len(scheduler.timesteps)


def _interchangeable(subject: Subject) -> bool:
    return isinstance(subject, PipelineSubject) and interchangeable(subject.scheduler)
