"""Noise levels of a run: read from a scheduler, and laid on one.

A solver takes its steps from `scheduler.sigmas` and a pipeline its times from
`scheduler.timesteps`. Where a scheduler has both, one of each per step, others can be laid in their
place as soon as it has set its own, and any pipeline or loop samples on these.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.schedulers.named import is_flow

__all__ = ["has_levels", "lay_levels", "noise_coordinates", "takes_levels"]

ALIKE = 1e-4  # in the logarithm


def noise_coordinates(scheduler: SchedulerMixin) -> list[float]:
    """The logarithm of the noise level of every timestep, as the scheduler has them set.

    Raises:
        ValueError: the scheduler has neither `sigmas` nor `alphas_cumprod`.
    """
    count = len(scheduler.timesteps)
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, Tensor) and count <= len(sigmas) <= count + 1:
        levels = sigmas[:count].double()
    elif isinstance(getattr(scheduler, "alphas_cumprod", None), Tensor):
        alphas = scheduler.alphas_cumprod.double().cpu()
        # Zero terminal SNR has no finite noise level; diffusers' own solvers clamp it likewise.
        kept = alphas[scheduler.timesteps.cpu().long().clamp(0, len(alphas) - 1)].clamp(min=2**-24)
        levels = ((1 - kept) / kept).sqrt()
    else:
        raise ValueError(
            f"{type(scheduler).__name__} tells no noise levels (sigmas or alphas_cumprod); "
            "use coordinate='step'"
        )
    return levels.clamp(min=torch.finfo(torch.float64).tiny).log().tolist()


def takes_levels(scheduler: SchedulerMixin) -> bool:
    """Whether other noise levels can be laid on a scheduler that has set its timesteps.

    It must have a falling level for every step and one for the end, evaluate once a step, and tell
    the network's times as its kind does: in flow matching a multiple of the level, in diffusion the
    step of training that has it.
    """
    sigmas, timesteps = getattr(scheduler, "sigmas", None), scheduler.timesteps
    if not isinstance(sigmas, Tensor) or len(sigmas) != len(timesteps) + 1:
        return False
    if any(after >= before for before, after in pairwise(sigmas.tolist())):
        return False
    own = _times(scheduler, noise_coordinates(scheduler))
    return own is not None and bool(np.abs(own - timesteps.double().cpu().numpy()).max() < 1)


def lay_levels(scheduler: SchedulerMixin, levels: Sequence[float]) -> None:
    """Let a scheduler that has just set its timesteps take its steps at these noise levels.

    Args:
        levels: the logarithm of the noise level of every step, falling; the end stays its own.

    Raises:
        ValueError: it has another number of steps, or takes no other levels.
    """
    if len(levels) != len(scheduler.timesteps):
        raise ValueError(
            f"these are noise levels for {len(levels)} steps, but the run has "
            f"{len(scheduler.timesteps)}; ask for num_inference_steps={len(levels)}"
        )
    if not takes_levels(scheduler):
        raise ValueError(
            f"{type(scheduler).__name__} takes none but its own noise levels; set the scheduler "
            "that the policy was tuned with"
        )
    times = torch.as_tensor(_times(scheduler, levels), dtype=torch.float32)
    sigmas = scheduler.sigmas.clone()
    sigmas[:-1] = torch.as_tensor(np.exp(levels)).to(sigmas)
    scheduler.sigmas, scheduler.timesteps = sigmas, times.to(scheduler.timesteps.device)
    if hasattr(scheduler, "begun"):  # of `frdiff.schedulers.flow`, whose solver has its own levels
        scheduler.solver = scheduler.begun()


def has_levels(scheduler: SchedulerMixin, levels: Sequence[float]) -> bool:
    """Whether a scheduler takes its steps at these noise levels."""
    own = noise_coordinates(scheduler)
    return len(own) == len(levels) and bool(np.abs(np.subtract(own, levels)).max() < ALIKE)


def _times(scheduler: SchedulerMixin, levels: Sequence[float]) -> np.ndarray | None:
    """What the network is told at these noise levels; None where that is not known."""
    if is_flow(scheduler):
        return np.exp(levels) * scheduler.config.num_train_timesteps
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, Tensor):
        return None
    kept = alphas.double().cpu().clamp(min=2**-24).numpy()
    return np.interp(levels, np.log((1 - kept) / kept) / 2, np.arange(len(kept)))
