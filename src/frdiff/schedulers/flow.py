"""Flow matching by solvers of second order, on whatever noise levels a pipeline asks for.

For flow matching the multistep solvers of diffusers take neither the noise levels nor the shift
that a pipeline works out, and round the times that the network is told; its Heun knows a fixed
shift alone. Here the levels are those that `FlowMatchEulerDiscreteScheduler` would set, and the
steps between them are the solver's.
"""

import functools
from typing import Any, ClassVar

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteSchedulerOutput,
)
from torch import Tensor

__all__ = ["FlowDPMScheduler", "FlowHeunScheduler", "FlowUniPCScheduler"]

# Multistep solvers count in log-SNR, which pure noise has none of.
MOST_NOISE = 1 - 1e-6


class _FlowScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """The levels of Euler's scheduler, the steps of another.

    Attributes:
        solver: what steps; made anew for each run.
    """

    solver: SchedulerMixin
    timesteps: Tensor
    sigmas: Tensor

    def begun(self) -> SchedulerMixin:
        """The solver, on the levels set."""
        raise NotImplementedError

    @functools.wraps(FlowMatchEulerDiscreteScheduler.set_timesteps)
    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """Set the levels as Euler's scheduler would, and begin a run."""
        super().set_timesteps(*args, **kwargs)
        self.solver = self.begun()

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this step."""
        super().set_begin_index(begin_index)
        self.solver.set_begin_index(begin_index)

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> FlowMatchEulerDiscreteSchedulerOutput | tuple[Tensor]:
        """The sample at the next level; in float32 in between, as Euler's scheduler has it."""
        # Where levels rise from 0, as Mochi's do, so does time, and velocities are turned round.
        score = -model_output if self.config.invert_sigmas else model_output
        following = self.solver.step(score, timestep, sample.float(), return_dict=False)[0]
        following = following.to(model_output.dtype)
        self._step_index = self.solver.step_index
        if return_dict:
            return FlowMatchEulerDiscreteSchedulerOutput(prev_sample=following)
        return (following,)

    @property
    def _levels(self) -> Tensor:
        """Noise levels from 1 to 0."""
        levels = 1 - self.sigmas if self.config.invert_sigmas else self.sigmas
        return levels.cpu()


class FlowHeunScheduler(_FlowScheduler):
    """Heun's method: two evaluations a step, one in the last."""

    order = 2

    def begun(self) -> SchedulerMixin:
        solver = FlowMatchHeunDiscreteScheduler(self.config.num_train_timesteps)
        solver.set_timesteps(len(self.timesteps))
        self.timesteps = _twice(self.timesteps)
        self.sigmas = torch.cat([_twice(self.sigmas[:-1]), self.sigmas[-1:]])
        solver.timesteps, solver.sigmas = self.timesteps, self._levels
        return solver


class _FlowMultistepScheduler(_FlowScheduler):
    kind: ClassVar[type[SchedulerMixin]]

    def begun(self) -> SchedulerMixin:
        solver = self.kind(
            self.config.num_train_timesteps,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
        )
        solver.set_timesteps(len(self.timesteps))
        solver.timesteps, solver.sigmas = self.timesteps, self._levels.clamp(max=MOST_NOISE)
        return solver


class FlowDPMScheduler(_FlowMultistepScheduler):
    """DPM-Solver++(2M)."""

    kind = DPMSolverMultistepScheduler


class FlowUniPCScheduler(_FlowMultistepScheduler):
    """UniPC of second order."""

    kind = UniPCMultistepScheduler


def _twice(values: Tensor) -> Tensor:
    """All but the first value twice."""
    return torch.cat([values[:1], values[1:].repeat_interleave(2)])
