"""Linear solvers: any solver whose samples are weighted sums of the first one and all scores.

Every deterministic multistep solver is one. With z for data plus noise of level l, s for the slope
of z over l that the model tells, and x for the sample as the model sees it, a step is

    z[i+1] = z[i] + (l[i+1] - l[i]) (sum_j weights[i, j] s[j] + own[i] x[i])

which is the non-stationary solver of Shaul et al., Bespoke Non-Stationary Solvers for Fast Sampling
of Diffusion and Flow Models, ICML 2024, arXiv 2403.01329, written so that Euler's method has the
weight 1 for the newest score and 0 for all else.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from frdiff.evaluation.opponents.levels import Noise

__all__ = ["LinearScheduler", "LinearSolver"]


@dataclass(frozen=True)
class LinearSolver:
    """Levels and weights of a run.

    Attributes:
        levels: falling, the last one 0, shape (steps + 1,).
        weights: of every step, for the scores of all steps up to it, shape (steps, steps).
        own: of every step, for the sample itself, shape (steps,).
    """

    levels: Tensor
    weights: Tensor
    own: Tensor

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        content = {name: value.tolist() for name, value in vars(self).items()}
        Path(path).write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "LinearSolver":
        """What `save` wrote."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{name: torch.tensor(value) for name, value in content.items()})


class LinearScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A scheduler that takes the steps of a linear solver, with gradients if that has them.

    Attributes:
        first: the sample that the run began with.
        scores: slopes of all steps so far.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, num_train_timesteps: int = 1000) -> None:
        self.timesteps = torch.empty(0)

    @classmethod
    def of(cls, solver: LinearSolver, noise: Noise) -> "LinearScheduler":
        """A scheduler for a model with this noise."""
        made = cls(noise.count)
        made.solver, made.noise = solver, noise
        made.scales = noise.scale(solver.levels)
        return made

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Begin a run of as many steps as the solver has."""
        if num_inference_steps != len(self.solver.own):
            raise ValueError(
                f"this solver takes {len(self.solver.own)} steps, got {num_inference_steps}"
            )
        self.sigmas = self.solver.levels
        self.timesteps = self.noise.time(self.sigmas[:-1]).to(device)
        self.scores: list[Tensor] = []

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor) -> Tensor:
        """The sample as it is."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """The sample at the next level."""
        solver, scales, step = self.solver, self.scales, len(self.scores)
        if not step:
            self.first = sample
        sample = sample.float()  # as schedulers of diffusers have it in between
        self.scores.append(self.noise.slope(model_output, sample, solver.levels[step]))
        slope = solver.own[step] * sample
        for weight, score in zip(solver.weights[step], self.scores, strict=False):
            slope = slope + weight * score
        length = solver.levels[step + 1] - solver.levels[step]
        following = scales[step + 1] * (sample / scales[step] + length * slope)
        following = following.to(model_output.dtype)
        return SchedulerOutput(prev_sample=following) if return_dict else (following,)
