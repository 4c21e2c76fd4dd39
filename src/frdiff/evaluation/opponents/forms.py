"""Forms: the linear solvers that known ones are."""

import copy

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.evaluation.opponents.levels import levels_of, noise_of
from frdiff.evaluation.opponents.linear import LinearSolver

__all__ = ["euler", "linear_form"]


def euler(levels: Tensor) -> LinearSolver:
    """Euler's method; for diffusion that is DDIM."""
    steps = len(levels) - 1
    return LinearSolver(levels, torch.eye(steps), torch.zeros(steps))


def linear_form(scheduler: SchedulerMixin, steps: int) -> LinearSolver:
    """The linear solver that a scheduler is, of diffusers or of `frdiff.schedulers.flow`.

    It steps from a unit vector for the first sample, and gets one more for every score.

    Raises:
        ValueError: one that scales its samples otherwise, or evaluates twice at a level.
    """
    noise = noise_of(scheduler)
    scheduler = copy.deepcopy(scheduler)
    kind = "flow_prediction" if noise.kind == "flow" else "epsilon"
    scheduler.register_to_config(prediction_type=kind)
    scheduler.set_timesteps(steps)
    levels = levels_of(scheduler)
    lengths = levels.diff().double()
    if getattr(scheduler, "init_noise_sigma", 1.0) != 1 or not lengths.all():
        raise ValueError(
            f"{type(scheduler).__name__} has no linear form here; take DPM-Solver++, UniPC or "
            "flow matching"
        )
    units = torch.eye(steps + 1, dtype=torch.float64)
    samples = [units[:1]]
    for unit, time in zip(units[1:], scheduler.timesteps, strict=True):
        samples.append(scheduler.step(unit[None], time, samples[-1], return_dict=False)[0])
    pure = torch.cat(samples).double() / noise.scale(levels.double())[:, None]
    weights = pure.diff(dim=0)[:, 1:] / lengths[:, None]
    return LinearSolver(levels, weights.float().tril(), torch.zeros(steps))
