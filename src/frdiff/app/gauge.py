"""Ways of drawing measured on the same noise: seconds, network calls, bytes, and decibels."""

import math
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline

from frdiff.app.turns import Pace
from frdiff.app.wording import TRUTHS
from frdiff.compare import psnr
from frdiff.sampling import sample
from frdiff.schedulers import CONVERGED_STEPS, converging
from frdiff.setting import Setting

__all__ = ["Gauge", "Measured", "Scene", "gauge_of", "mark"]


@dataclass(frozen=True)
class Scene:
    """What is drawn, always from the same noise.

    Attributes:
        prompts: one per picture.
        seed: picture i is drawn from seed + i.
        guidance: scale; None for the pipeline's default.
        inputs: further arguments of the pipeline.
    """

    pipe: DiffusionPipeline
    prompts: Sequence[str]
    seed: int
    guidance: float | None
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, steps: int) -> np.ndarray:
        """Pictures (N, H, W, C) in [0, 1] by the pipeline as it is now.

        Raises:
            ValueError: what the pipeline makes are no pictures.
        """
        images = sample(
            self.pipe,
            self.prompts,
            steps=steps,
            seed=self.seed,
            guidance=self.guidance,
            inputs=self.inputs,
        )
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            kind = type(self.pipe).__name__
            raise ValueError(f"the app shows pictures; {kind} makes arrays {images.shape[1:]}")
        return images


@dataclass(frozen=True)
class Measured:
    """A way of drawing and what it came to.

    Attributes:
        kind: "full", "frdiff", "shipped", "fewer steps" or "untuned".
        images: (N, H, W, C) in [0, 1].
        seconds: wall-clock time of the one pipeline call, text encoder and decoder included.
        decibels: median PSNR over the pictures to what the gauge measures against; inf if equal.
        calls: steps with a network call.
        macs_share: MACs of the denoiser over those of the full run; None if not counted.
        bank_bytes: most bytes stored at a time.
        notes: warnings of the run.
    """

    name: str
    kind: str
    setting: Setting
    images: np.ndarray
    seconds: float
    decibels: float
    calls: int
    macs_share: float | None
    bank_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gauge:
    """Measures ways of drawing a scene.

    Attributes:
        truth: pictures that decibels are to.
        against: what they are, one of `TRUTHS`.
        full: the full run.
    """

    scene: Scene
    truth: np.ndarray
    against: str
    full: Measured

    def measure(self, name: str, kind: str, setting: Setting, pace: Pace) -> Measured:
        """A way of drawing, drawn once; before that untimed, where features are stored.

        Raises:
            Stopped: somebody asked to.
            ValueError: the policy does not fit the pipeline.
        """
        return _measured(self.scene, name, kind, setting, pace, self.truth, self.full.calls)


def gauge_of(scene: Scene, full: Setting, against: str, pace: Pace) -> Gauge:
    """What measures ways of drawing a scene, the full run drawn.

    Args:
        full: without a policy.
        against: one of `TRUTHS`. Where no solver is known to reach the converged solution, the
            full run stands for it.

    Raises:
        Stopped: somebody asked to.
    """
    solver = converging(scene.pipe.scheduler)
    if against == TRUTHS[0] and solver is not None:
        with Setting(CONVERGED_STEPS, None, solver).attached(scene.pipe):
            truth = scene.draw(CONVERGED_STEPS)
    else:
        against, truth = TRUTHS[1], None
    drawn = _measured(scene, "full run", "full", full, pace, truth, None)
    return Gauge(scene, drawn.images if truth is None else truth, against, drawn)


def _measured(
    scene: Scene,
    name: str,
    kind: str,
    setting: Setting,
    pace: Pace,
    truth: np.ndarray | None,
    full_calls: int | None,
) -> Measured:
    with (
        pace.held(),
        warnings.catch_warnings(record=True) as told,
        setting.attached(scene.pipe) as run,
    ):
        warnings.simplefilter("always")
        if setting.policy is not None and setting.policy.reuses:
            # The first call tells, once for all, what of this network's features can be stored.
            scene.draw(setting.steps)
        began = time.perf_counter()
        images = scene.draw(setting.steps)
        seconds = time.perf_counter() - began
        if run is None:
            calls = len(scene.pipe.scheduler.timesteps)
            passes: float | None = calls
            held = 0
        else:
            stats = run.stats
            calls, held = stats.steps - stats.jumps, stats.bank_bytes_peak
            passes = None if stats.macs_ratio is None else stats.macs_ratio * stats.steps
    return Measured(
        name,
        kind,
        setting,
        images,
        seconds,
        math.inf if truth is None else statistics.median(psnr(truth, images)),
        calls,
        None if passes is None else passes / (full_calls or calls),
        held,
        tuple(dict.fromkeys(mark(str(one.message)) for one in told if one.category is UserWarning)),
    )


def mark(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
