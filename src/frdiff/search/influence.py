"""Influences: what a change of one step's score alone changes in the final sample.

Every solver's step is linear in the sample and in its score, so these are numbers that the
scheduler alone decides, known without a network.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.calls import tensor_of

__all__ = ["influences"]

TOLERANCE = 1e-3


def influences(
    scheduler: SchedulerMixin, timing: Mapping[str, Any], steps: int
) -> np.ndarray | None:
    """What a change of each step's score alone changes in the final sample, shape (steps,).

    None where that is no number: the scheduler adds noise, clips, or wants to know more.

    Args:
        scheduler: it is not changed.
        timing: what the run gave to its `set_timesteps`, by name, without the device.
        steps: that a run takes; fewer than the scheduler has where it begins in the middle.
    """
    scheduler = copy.deepcopy(scheduler)
    # A unit score at each step in turn, all of them at once, and none at all.
    scores = torch.cat([torch.eye(steps), torch.ones(steps, 1), torch.zeros(steps, 1)], dim=1)
    try:
        with torch.random.fork_rng(devices=[]):
            samples = _final(scheduler, timing, scores.view(steps, -1, 1, 1, 1))
    except Exception:  # whatever a scheduler raises on samples that are no pictures
        return None
    *alone, together, nothing = samples.flatten().double().tolist()
    linear = nothing == 0 and abs(sum(alone) - together) <= TOLERANCE * max(map(abs, alone))
    return np.array(alone) if linear and np.isfinite(alone).all() else None


def _final(scheduler: SchedulerMixin, timing: Mapping[str, Any], scores: Tensor) -> Tensor:
    """What samples of zeros become with the given scores, shape (steps, N, ...)."""
    scheduler.set_timesteps(**timing)
    first = len(scheduler.timesteps) - len(scores)
    if first and hasattr(scheduler, "set_begin_index"):  # others find their place by themselves
        scheduler.set_begin_index(first)
    samples = torch.zeros_like(scores[0])
    for timestep, score in zip(scheduler.timesteps[first:], scores, strict=True):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(samples, timestep)
        samples = tensor_of(scheduler.step(score, timestep, samples))
    return samples
