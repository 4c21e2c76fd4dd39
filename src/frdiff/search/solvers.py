"""Solvers a search may choose from, how long their runs are, and the converged solution."""

import copy

from diffusers import SchedulerMixin

from frdiff.sampling import SCHEDULERS, set_scheduler
from frdiff.search.space import in_full
from frdiff.search.subject import PipelineSubject, Subject
from frdiff.setting import Setting

__all__ = ["converged", "run_length", "scheduler_of", "solvers_of"]

# They solve the same equation: with enough steps all of them reach the same picture.
DETERMINISTIC = ("ddim", "pndm", "euler", "heun", "lms", "dpm++", "unipc")
CHOICES = ("dpm++", "unipc")
CONVERGED_STEPS = 100


def solvers_of(subject: Subject, allow_scheduler: bool) -> list[str | None]:
    """The solvers to choose from: None, the subject's own, and others that draw the same.

    Raises:
        ValueError: others are allowed, and the subject's own cannot be replaced.
    """
    if not allow_scheduler:
        return [None]
    if not _replaceable(subject):
        raise ValueError(
            f"{type(subject.scheduler).__name__} has no other scheduler that draws the same; "
            "leave allow_scheduler out"
        )
    return [None, *CHOICES]


def converged(subject: Subject, num_steps: int) -> Setting:
    """The setting whose samples all others are measured against.

    DPM-Solver++ with 100 steps, or four times `num_steps`, where it draws the same; the own
    scheduler with four times as many steps where it is not known to add noise; else the full run
    itself, as for hand-written loops.
    """
    steps, solver = num_steps, None
    if _replaceable(subject):
        steps, solver = max(CONVERGED_STEPS, 4 * num_steps), "dpm++"
    elif isinstance(subject, PipelineSubject) and _name(subject.scheduler) is None:
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


def scheduler_of(subject: Subject, solver: str | None) -> SchedulerMixin:
    """The scheduler called `solver` as the subject would use it; its own for None."""
    if solver is None or not isinstance(subject, PipelineSubject):
        return subject.scheduler
    own = subject.pipe.scheduler
    try:
        return set_scheduler(subject.pipe, solver)
    finally:
        subject.pipe.scheduler = own


def _replaceable(subject: Subject) -> bool:
    if not isinstance(subject, PipelineSubject) or _name(subject.scheduler) not in DETERMINISTIC:
        return False
    return not subject.scheduler.config.get("use_flow_sigmas")


def _name(scheduler: SchedulerMixin) -> str | None:
    """The short name of a scheduler; None for one that is not in the table."""
    for name, (class_name, options) in SCHEDULERS.items():
        if type(scheduler).__name__ == class_name and all(
            scheduler.config.get(key) == value for key, value in options.items()
        ):
            return name
    return None
