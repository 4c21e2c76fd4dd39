"""Noise levels: those that a model knows, the times it is told for them, and schedulers on others.

A level is a standard deviation of noise: sigma = sqrt((1 - a) / a) for a cumulative product a of
diffusion, and the share of noise, from 1 to 0, for flow matching. Levels of a run fall, and the
last of them is 0.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.network.wrapped import Wrapped
from frdiff.schedulers.levels import lay_levels
from frdiff.schedulers.named import is_flow

__all__ = ["Noise", "levels_of", "noise_of", "on_levels"]


@dataclass(frozen=True)
class Noise:
    """What noise does to samples that a model was trained on.

    Attributes:
        kind: what the model predicts: "flow", "epsilon" or "v_prediction".
        count: training times.
        known: logarithms of their levels, rising; of diffusion only.
    """

    kind: str
    count: int
    known: Tensor

    def time(self, levels: Tensor) -> Tensor:
        """What the model is told at each level, between training times too; with a gradient."""
        if self.kind == "flow":
            return levels * self.count
        logs = levels.log().clamp(self.known[0].item(), self.known[-1].item())
        known = self.known.to(logs)
        below = torch.searchsorted(known, logs.detach()).clamp(1, self.count - 1) - 1
        return below + (logs - known[below]) / (known[below + 1] - known[below])

    def scale(self, levels: Tensor) -> Tensor:
        """Samples over data plus noise of each level: below 1 where variances are preserved."""
        return torch.ones_like(levels) if self.kind == "flow" else (1 + levels**2).rsqrt()

    def slope(self, output: Tensor, sample: Tensor, level: Tensor) -> Tensor:
        """How data plus noise changes with its level, from what the model returns."""
        if self.kind != "v_prediction":
            return output
        return self.scale(level) * (output + level * sample)


def noise_of(scheduler: SchedulerMixin) -> Noise:
    """The noise that a pipeline's scheduler is set up for.

    Raises:
        ValueError: levels that rise, or a model that predicts something else.
    """
    config = scheduler.config
    kind = "flow" if is_flow(scheduler) else config.get("prediction_type")
    if kind not in ("flow", "epsilon", "v_prediction") or config.get("invert_sigmas"):
        raise ValueError(
            f"{type(scheduler).__name__} with prediction_type={kind!r} and rising or unknown noise "
            "levels; needs falling ones and flow, epsilon or v_prediction"
        )
    if kind == "flow":
        return Noise(kind, config.num_train_timesteps, torch.empty(0))
    kept = scheduler.alphas_cumprod.double().cpu()
    return Noise(kind, len(kept), ((1 - kept) / kept).log() / 2)


def levels_of(scheduler: SchedulerMixin) -> Tensor:
    """The levels that a scheduler has set, from the first to 0, float32, shape (steps + 1,)."""
    levels: Tensor = scheduler.sigmas.detach().float().cpu()
    return levels


@contextmanager
def on_levels(scheduler: SchedulerMixin, levels: Sequence[float]) -> Iterator[None]:
    """Within, a scheduler of diffusers or of `frdiff.schedulers.flow` steps over these levels.

    The model is told the exact times, not rounded ones.

    Args:
        levels: of every step and at last 0; as many steps must be asked for.
    """
    set_own = scheduler.set_timesteps

    def set_levels(*args: Any, **kwargs: Any) -> None:
        set_own(*args, **kwargs)
        lay_levels(scheduler, [math.log(level) for level in levels[:-1]])

    wrapped = Wrapped(scheduler, "set_timesteps", set_levels)
    try:
        yield
    finally:
        wrapped.restore()
