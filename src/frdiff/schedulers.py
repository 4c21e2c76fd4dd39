"""Schedulers by short name."""

import diffusers
from diffusers import DiffusionPipeline, SchedulerMixin

from frdiff.choices import SCHEDULERS

__all__ = [
    "CONVERGED",
    "CONVERGED_STEPS",
    "interchangeable",
    "scheduler_name",
    "set_scheduler",
]

# They solve the same equation: with enough steps all of them reach the same picture.
DETERMINISTIC = (
    "ddim", "pndm", "euler", "heun", "lms", "dpm++", "dpm++karras", "unipc", "unipckarras",
)  # fmt: skip
# What comes closest to that picture, to 69 dB and more with 100 steps on the shipped models. Steps
# even in time end with a large one that leaves 40 to 50 dB, the same whatever the solver.
CONVERGED = "dpm++karras"
CONVERGED_STEPS = 100


def scheduler_name(scheduler: SchedulerMixin) -> str | None:
    """The short name of a scheduler; None for one that is not in `SCHEDULERS`."""
    for name, (class_name, options) in SCHEDULERS.items():
        if type(scheduler).__name__ == class_name and all(
            scheduler.config.get(key) == value for key, value in options.items()
        ):
            return name
    return None


def interchangeable(scheduler: SchedulerMixin) -> bool:
    """Whether the deterministic schedulers of `SCHEDULERS` draw the same, given enough steps."""
    config = scheduler.config
    # Networks that are told the noise level itself, on a range of its own, know no other times.
    special = config.get("use_flow_sigmas") or config.get("timestep_type") == "continuous"
    return scheduler_name(scheduler) in DETERMINISTIC and not special


def set_scheduler(pipe: DiffusionPipeline, name: str) -> SchedulerMixin:
    """The scheduler called `name`, made from the settings of the pipeline's own and set on it.

    Raises:
        ValueError: unknown name, or a flow-matching pipeline, which these schedulers do not serve.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"no scheduler {name!r}; choose one of {', '.join(SCHEDULERS)}")
    own = type(pipe.scheduler).__name__
    if "FlowMatch" in own or pipe.scheduler.config.get("use_flow_sigmas"):
        raise ValueError(
            f"{type(pipe).__name__} samples by flow matching with {own}, which {name!r} cannot "
            "replace; leave the scheduler out or set pipe.scheduler yourself"
        )
    class_name, options = SCHEDULERS[name]
    if "clip_sample" not in pipe.scheduler.config:
        # DDIM and DDPM clip to [-1, 1] unless told otherwise, which ruins latents.
        options = options | {"clip_sample": False}
    pipe.scheduler = getattr(diffusers, class_name).from_config(pipe.scheduler.config, **options)
    return pipe.scheduler
