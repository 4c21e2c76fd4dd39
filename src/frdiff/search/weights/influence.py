"""Influences: what a change of one step's score alone changes in the samples that follow.

Every solver's step is linear in the sample and in its score, so these are numbers that the
scheduler alone decides, known without a network.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.network.calls import tensor_of
from frdiff.schedulers.levels import lay_levels

__all__ = ["influences", "responses"]

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
    found = responses(scheduler, timing, steps)
    return None if found is None else found[-1, 1:]


def responses(
    scheduler: SchedulerMixin,
    timing: Mapping[str, Any],
    steps: int,
    levels: Sequence[float] | None = None,
) -> np.ndarray | None:
    """What every step's sample takes of the first sample and of each score so far.

    Shape (steps, 1 + steps): row i for the sample that step i ends with. None where there are no
    such numbers, see `influences`.

    Args:
        levels: noise levels to lay, as `frdiff.schedulers.levels` does; None leaves the scheduler
            its own.
    """
    scheduler = copy.deepcopy(scheduler)
    # The first sample alone, a unit score at each step in turn, all of these at once, and nothing.
    count = 1 + steps
    start = torch.cat([torch.eye(1, count)[0], torch.tensor([1.0, 0.0])])
    scores = torch.cat(
        [torch.zeros(steps, 1), torch.eye(steps), torch.ones(steps, 1), torch.zeros(steps, 1)],
        dim=1,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            samples = _samples(
                scheduler, timing, start.view(-1, 1, 1, 1), scores.view(steps, -1, 1, 1, 1), levels
            )
    except Exception:  # whatever a scheduler raises on samples that are no pictures
        return None
    found = samples.flatten(1).double().numpy()
    alone, together, nothing = found[:, :count], found[:, count], found[:, -1]
    scale = np.abs(alone).max(axis=1)
    linear = not nothing.any() and (np.abs(alone.sum(1) - together) <= TOLERANCE * scale).all()
    return alone if linear and np.isfinite(alone).all() else None


def _samples(
    scheduler: SchedulerMixin,
    timing: Mapping[str, Any],
    start: Tensor,
    scores: Tensor,
    levels: Sequence[float] | None,
) -> Tensor:
    """What samples become with the given scores, shape (steps, N, ...), step by step."""
    scheduler.set_timesteps(**timing)
    if levels is not None:
        lay_levels(scheduler, levels)
    first = len(scheduler.timesteps) - len(scores)
    if first and hasattr(scheduler, "set_begin_index"):  # others find their place by themselves
        scheduler.set_begin_index(first)
    samples, found = start.expand_as(scores[0]), []
    for timestep, score in zip(scheduler.timesteps[first:], scores, strict=True):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(samples, timestep)
        samples = tensor_of(scheduler.step(score, timestep, samples))
        found.append(samples)
    return torch.stack(found)
