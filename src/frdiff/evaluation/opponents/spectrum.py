"""Spectrum: steps without the network, by polynomials through all that it returned so far.

What is forecast is, of a U-Net, the feature before its head, which runs at every step; of anything
else the score; how, see `frdiff.evaluation.opponents.chebyshev`.

References:
    Spectrum: adaptive spectral feature forecasting for diffusion sampling, as released with
    SGLang and stable-diffusion.cpp: degree 4, ridge 0.1, a warm-up of 5 steps, a window of 2 steps
    an evaluation that grows by 0.75 or by 3 with each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from frdiff.evaluation.opponents.chebyshev import BLEND, forecast_weights
from frdiff.network.denoisers import find_denoisers
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.network.wrapped import Wrapped
from frdiff.schedulers.clock import Clock

__all__ = ["is_evaluated", "spectrum"]

WARM_UP, WINDOW = 5, 2.0


def is_evaluated(steps: int, flex: float) -> list[bool]:
    """Of every step, whether the network runs.

    Args:
        flex: by how much the window grows with each evaluation. Larger: fewer evaluations.
    """
    window, skipped, found = WINDOW, 0, []
    for step in range(steps):
        due = step < WARM_UP or (skipped + 1) % int(window) == 0
        if due and step >= WARM_UP:
            window += flex
        skipped = 0 if due else skipped + 1
        found.append(due)
    return found


class _Forecast:
    """What was found at the steps evaluated, call by call, and what is expected at others."""

    def __init__(self, denoiser: nn.Module, steps: int, flex: float, blend: float) -> None:
        self.compute, self.head = denoiser.forward, _head_of(denoiser)
        self.steps, self.blend = steps, blend
        self.plan = is_evaluated(steps, flex)
        self.begin()

    def begin(self) -> None:
        self.step, self.call = 0, 0
        self.found: dict[int, list[tuple[int, Sequence[Tensor]]]] = {}

    def end_step(self, index: int, num_steps: int, result: object) -> None:
        self.step, self.call = index + 1, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rows = self.found.setdefault(self.call, [])
        self.call += 1
        if self.plan[self.step]:
            with _heard(self.head) as heard:
                result = self.compute(*args, **kwargs)
            self.form = form_of(result)
            rows.append((self.step, heard if self.head else tensors_in(result)))
            return result
        known = [step for step, _ in rows]
        weights = forecast_weights(known, self.step, self.steps, blend=self.blend)
        columns = zip(*(tensors for _, tensors in rows), strict=True)
        forecast = [_weighed(weights, column) for column in columns]
        return filled(self.form, [self.head(each) for each in forecast] if self.head else forecast)


def _head_of(denoiser: nn.Module) -> nn.Sequential | None:
    """The last layers of a U-Net, if it has those that diffusers gives them."""
    names = ("conv_norm_out", "conv_act", "conv_out")
    parts = [part for name in names if (part := getattr(denoiser, name, None)) is not None]
    return nn.Sequential(*parts) if len(parts) == len(names) else None


@contextmanager
def _heard(head: nn.Sequential | None) -> Iterator[list[Tensor]]:
    """A list of what the head is given within."""
    heard: list[Tensor] = []
    if head is None:
        yield heard
        return
    hook = head[0].register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    try:
        yield heard
    finally:
        hook.remove()


def _weighed(weights: np.ndarray, tensors: Sequence[Tensor]) -> Tensor:
    total = float(weights[0]) * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total.add_(tensor, alpha=float(weight))
    return total


@contextmanager
def spectrum(
    pipe: DiffusionPipeline, steps: int, flex: float, blend: float = BLEND
) -> Iterator[DiffusionPipeline]:
    """The pipeline with steps forecast; as before afterwards.

    Args:
        flex: see `is_evaluated`.
        blend: see `forecast_weights`.
    """
    (denoiser,) = find_denoisers(pipe).values()
    forecast = _Forecast(denoiser, steps, flex, blend)
    clock = Clock(pipe.scheduler, forecast.begin, forecast.end_step)
    wrapped = Wrapped(denoiser, "forward", lambda *args, **kwargs: forecast(*args, **kwargs))
    try:
        yield pipe
    finally:
        wrapped.restore()
        clock.detach()
