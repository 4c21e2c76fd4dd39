"""Correctors: keyframes that make up for what the jumps before them missed.

The scores of jumps are predicted from keyframes that came before. The next keyframe shows how they
should have been: with its own score the ones in between are interpolated, which is far closer. What
the predictions have done to the sample cannot be undone, but every solver's step is linear in its
score, so the keyframe's step can add what is missing. This is the corrector of UniPC (Zhao et al.,
NeurIPS 2023, arXiv 2302.04867, section 3.1), for any solver and over several steps at once.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.calls import tensor_of
from frdiff.forecast import extrapolation_weights

__all__ = ["corrector_weights", "influences"]

NODES = 3  # interpolated through: the keyframe and two before it
TOLERANCE = 1e-3
MOST = 50.0  # beyond it a weight is no correction any more


def influences(
    scheduler: SchedulerMixin, num_inference_steps: int, steps: int
) -> np.ndarray | None:
    """What a change of each step's raw score alone changes in the final sample, shape (steps,).

    None where that is no number: the scheduler adds noise, clips, or wants to know more.

    Args:
        scheduler: it is not changed.
        steps: that a run takes; fewer than the scheduler has where it begins in the middle.
    """
    scheduler = copy.deepcopy(scheduler)
    # A unit score at each step in turn, all of them at once, and none at all.
    scores = torch.cat([torch.eye(steps), torch.ones(steps, 1), torch.zeros(steps, 1)], dim=1)
    try:
        with torch.random.fork_rng(devices=[]):
            samples = _final(scheduler, num_inference_steps, scores.view(steps, -1, 1, 1, 1))
    except Exception:  # whatever a scheduler raises on samples that are no pictures
        return None
    *alone, together, nothing = samples.flatten().double().tolist()
    linear = nothing == 0 and abs(sum(alone) - together) <= TOLERANCE * max(map(abs, alone))
    return np.array(alone) if linear and np.isfinite(alone).all() else None


def _final(scheduler: SchedulerMixin, num_inference_steps: int, scores: Tensor) -> Tensor:
    """What samples of zeros become with the given raw scores, shape (steps, N, ...)."""
    scheduler.set_timesteps(num_inference_steps)
    first = len(scheduler.timesteps) - len(scores)
    if first and hasattr(scheduler, "set_begin_index"):  # others find their place by themselves
        scheduler.set_begin_index(first)
    samples = torch.zeros_like(scores[0])
    for timestep, score in zip(scheduler.timesteps[first:], scores, strict=True):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(samples, timestep)
        samples = tensor_of(scheduler.step(score, timestep, samples))
    return samples


def corrector_weights(
    keyframe: int, stored: Sequence[int], jumps: Sequence[Sequence[float]], influence: np.ndarray
) -> list[float]:
    """Weights of a keyframe's own score and of those before it, newest first; they sum to 1.

    `[1.0]`, its own alone, where there is nothing to correct or no finite correction.

    Args:
        keyframe: its step.
        stored: the keyframes before it, newest first, at least as many as `jumps` weigh.
        jumps: for each step between the newest of them and `keyframe`, the weights it took of the
            scores of `stored`.
        influence: of every step, see `influences`.
    """
    if not jumps:
        return [1.0]
    nodes = [keyframe, *stored][: max([NODES, *(1 + len(row) for row in jumps)])]
    total = np.eye(1, len(nodes))[0]
    for step, row in zip(range(keyframe - len(jumps), keyframe), jumps, strict=True):
        wanted = extrapolation_weights(nodes[:NODES], step)
        missed = np.pad(wanted, (0, len(nodes) - len(wanted)))
        missed[1 : 1 + len(row)] -= row
        with np.errstate(divide="ignore", invalid="ignore"):
            total += influence[step] / influence[keyframe] * missed
    return total.tolist() if (np.abs(total) <= MOST).all() else [1.0]
