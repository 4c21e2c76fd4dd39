"""GITS: noise levels by dynamic programming over one run of many steps.

From every level of that run, the teacher, an Euler step to every later one is compared with where
the teacher is there. The levels chosen are those of the path of least cost.

References:
    On the Trajectory Regularity of ODE-based Diffusion Sampling (Chen, Zhou, Wang, Shen, Lyu,
    ICML 2024, arXiv 2405.11326). As there: 61 levels of the teacher, costs by how far a sample lies
    off the straight line from the teacher's first to its last, and a coefficient of 1.15.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from frdiff.evaluation.opponents.forms import euler
from frdiff.evaluation.opponents.levels import levels_of, noise_of
from frdiff.evaluation.opponents.linear import LinearScheduler
from frdiff.evaluation.opponents.loops import final_latents
from frdiff.schedulers.named import is_flow
from frdiff.search.subject import Batch, PipelineSubject, scheduler_of

__all__ = ["COEFFICIENT", "TEACHER", "cheapest_path", "gits_levels", "step_costs"]

TEACHER = 60  # steps
COEFFICIENT = 1.15


def gits_levels(subject: PipelineSubject, steps: int, batches: Sequence[Batch]) -> list[float]:
    """Levels of `steps` evaluations, and 0; the teacher draws every batch once."""
    teacher = scheduler_of(
        subject, "flow-euler-karras" if is_flow(subject.scheduler) else "dpm++karras"
    )
    teacher.set_timesteps(TEACHER)
    levels = levels_of(teacher)
    costs = [step_costs(levels, *_drawn(subject, levels, batch)) for batch in batches]
    path = cheapest_path(np.mean(costs, axis=0), steps)
    return levels[path].tolist()


@torch.no_grad()
def _drawn(subject: PipelineSubject, levels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The teacher's first sample, and its slope at every level, shapes (N, D), (steps, N, D)."""
    scheduler = LinearScheduler.of(euler(levels), noise_of(subject.scheduler))
    final_latents(subject, scheduler, TEACHER, batch)
    first = scheduler.first.flatten(1) / scheduler.scales[0]
    return first, torch.stack(scheduler.scores).flatten(2)


def step_costs(levels: Tensor, first: Tensor, slopes: Tensor) -> np.ndarray:
    """What an Euler step from every level to every later one costs, shape (L, L).

    Args:
        levels: falling, shape (L,).
        first: samples at the first level, data plus noise, shape (N, D).
        slopes: over the level, at all levels but the last, shape (L - 1, N, D).
    """
    lengths = levels.diff().view(-1, 1, 1)
    samples = torch.cat([first[None], first + (lengths * slopes).cumsum(0)])
    line = samples[-1] - samples[0]
    line = line / line.norm(dim=-1, keepdim=True)

    def off(points: Tensor) -> Tensor:
        away = points - samples[0]
        return (away - (away * line).sum(-1, keepdim=True) * line).norm(dim=-1)

    costs = np.full((len(levels), len(levels)), np.inf)
    teacher = off(samples)
    for start in range(len(levels) - 1):
        reach = (levels[start + 1 :] - levels[start]).view(-1, 1, 1)
        student = off(samples[start] + reach * slopes[start])
        costs[start, start + 1 :] = (student - teacher[start + 1 :]).mean(1).abs()
    return costs


def cheapest_path(costs: np.ndarray, steps: int, coefficient: float = COEFFICIENT) -> list[int]:
    """The levels, first to last, of `steps` steps whose costs sum to the least.

    Args:
        costs: from every level to every later one, infinite elsewhere.
        coefficient: by which a step counts more than the one before it.
    """
    left = np.full(len(costs), np.inf)
    left[-1] = 0.0
    nexts = []
    for _ in range(steps):
        totals = costs + coefficient * left
        nexts.append(totals.argmin(1))
        left = totals.min(1)
    path = [0]
    for following in reversed(nexts):
        path.append(int(following[path[-1]]))
    return path
