"""Schedulers by short name.

For diffusion they are those of `frdiff.choices.SCHEDULERS`. For flow matching a name tells the
solver and the noise levels: `"flow-euler"`, `"flow-heun"`, `"flow-unipc"` or `"flow-dpm++"`, on the
pipeline's own levels or, with `"-karras"`, `"-beta"`, `"-exponential"` or a shift such as
`"-shift-1.5"` after it, on these.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Any

import diffusers
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.utils import is_scipy_available

import frdiff.schedulers.flow
from frdiff.choices import FLOW_LEVELS, FLOW_NAME, FLOW_SOLVERS, SCHEDULERS, check_scheduler

__all__ = [
    "CONVERGED",
    "CONVERGED_STEPS",
    "adds_noise",
    "converging",
    "crossed",
    "flow_schedulers",
    "interchangeable",
    "is_flow",
    "scheduler_for",
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
FLOW_CONVERGED = "flow-unipc-karras"
CONVERGED_STEPS = 100
# Deterministic schedulers of flow matching, and those that are if told to.
FLOWS = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowHeunScheduler",
    "FlowUniPCScheduler",
    "FlowDPMScheduler",
)
FLOWS_IF_TOLD = (
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
)


def scheduler_name(scheduler: SchedulerMixin) -> str | None:
    """The short name of a scheduler; None for one that has none.

    For flow matching it leaves out the shift, which is a pipeline's own.
    """
    if is_flow(scheduler):
        for name, class_name in FLOW_SOLVERS.items():
            if type(scheduler).__name__ == class_name:
                levels = (k for k in FLOW_LEVELS if scheduler.config.get(f"use_{k}_sigmas"))
                return "-".join([name, *levels])
        return None
    for name, (class_name, options) in SCHEDULERS.items():
        if type(scheduler).__name__ == class_name and all(
            scheduler.config.get(key) == value for key, value in options.items()
        ):
            return name
    return None


def is_flow(scheduler: SchedulerMixin) -> bool:
    """Whether it samples by flow matching, and adds no noise."""
    name, config = type(scheduler).__name__, scheduler.config
    if name in FLOWS:
        return not config.get("stochastic_sampling")
    told = name in FLOWS_IF_TOLD and config.get("use_flow_sigmas")
    return bool(told) and "sde" not in config.get("algorithm_type", "")


def adds_noise(scheduler: SchedulerMixin) -> bool:
    """Whether it is known to add noise while it samples."""
    name = scheduler_name(scheduler)
    return not is_flow(scheduler) and name is not None and name not in DETERMINISTIC


def interchangeable(scheduler: SchedulerMixin) -> bool:
    """Whether the deterministic schedulers of its kind draw the same, given enough steps."""
    if is_flow(scheduler):
        return True
    config = scheduler.config
    # Networks that are told the noise level itself, on a range of its own, know no other times.
    special = config.get("use_flow_sigmas") or config.get("timestep_type") == "continuous"
    return scheduler_name(scheduler) in DETERMINISTIC and not special


def converging(scheduler: SchedulerMixin) -> str | None:
    """Of the schedulers that draw the same, what comes closest to the converged solution.

    None where no other is known to draw the same.
    """
    if not interchangeable(scheduler):
        return None
    return FLOW_CONVERGED if is_flow(scheduler) else CONVERGED


def set_scheduler(pipe: DiffusionPipeline, name: str) -> SchedulerMixin:
    """The scheduler called `name`, made from the settings of the pipeline's own and set on it.

    Raises:
        ValueError: unknown name, or one of flow matching for a pipeline of diffusion, or the
            reverse.
    """
    pipe.scheduler = made = scheduler_for(pipe, name)
    return made


def scheduler_for(pipe: DiffusionPipeline, name: str) -> SchedulerMixin:
    """What `set_scheduler` would set; the pipeline is left alone.

    Raises:
        ValueError: see there.
    """
    check_scheduler(name)
    match = FLOW_NAME.fullmatch(name)
    own = type(pipe.scheduler).__name__
    flow = is_flow(pipe.scheduler)
    if match is None and (flow or "Flow" in own or pipe.scheduler.config.get("use_flow_sigmas")):
        raise ValueError(
            f"{type(pipe).__name__} samples by flow matching with {own}, which {name!r} cannot "
            f"replace; choose one of {', '.join(FLOW_SOLVERS)}, leave the scheduler out or set "
            "pipe.scheduler yourself"
        )
    if match is not None and not flow:
        raise ValueError(
            f"{type(pipe).__name__} does not sample by flow matching but with {own}, which "
            f"{name!r} cannot replace; choose one of {', '.join(SCHEDULERS)}"
        )
    return _diffusion(pipe.scheduler, name) if match is None else _flow(pipe.scheduler, match)


def _diffusion(own: SchedulerMixin, name: str) -> SchedulerMixin:
    class_name, options = SCHEDULERS[name]
    if "clip_sample" not in own.config:
        # DDIM and DDPM clip to [-1, 1] unless told otherwise, which ruins latents.
        options = options | {"clip_sample": False}
    return getattr(diffusers, class_name).from_config(own.config, **options)


def _flow(own: SchedulerMixin, match: re.Match[str]) -> SchedulerMixin:
    class_name = FLOW_SOLVERS[match["solver"]]
    home = frdiff.schedulers.flow if hasattr(frdiff.schedulers.flow, class_name) else diffusers
    kind = getattr(home, class_name)
    taken = inspect.signature(kind.__init__).parameters.keys()
    options: dict[str, Any] = {name: own.config[name] for name in taken & own.config.keys()}
    if "flow_shift" in own.config:
        options["shift"] = own.config["flow_shift"]
    if match["levels"] or match["shift"]:
        options |= {f"use_{name}_sigmas": name == match["levels"] for name in FLOW_LEVELS}
    if match["shift"]:
        options |= {"shift": float(match["shift"]), "use_dynamic_shifting": False}
    return kind(**options)


def flow_schedulers() -> list[str]:
    """Names to choose from for flow matching: every solver on the own levels, Euler on others."""
    levels = [name for name in FLOW_LEVELS if name != "beta" or is_scipy_available()]
    shifts = [f"shift-{shift:g}" for shift in (1, 1.5, 2, 3, 4, 6)]
    return [*FLOW_SOLVERS, *(f"flow-euler-{name}" for name in (*levels, *shifts))]


def crossed(ranked: Sequence[str | None]) -> list[str]:
    """Of flow schedulers, all solvers on the best two kinds of levels.

    How a solver does on one kind says little about how it does on another.

    Args:
        ranked: the best first; None, a pipeline's own, counts as Euler on its own levels. Without
            another of flow matching there are none.
    """
    if not any(name in FLOW_SOLVERS for name in ranked):
        return []
    matches = [FLOW_NAME.fullmatch(name or "flow-euler") for name in ranked]
    levels = [match[0][len(match["solver"]) :] for match in matches if match]
    return [solver + level for level in [*dict.fromkeys(levels)][:2] for solver in FLOW_SOLVERS]
