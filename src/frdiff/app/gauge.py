"""Ways of drawing measured on the same noise: seconds, network calls, bytes, and decibels."""

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline

from frdiff.app.turns import Pace
from frdiff.app.wording import TRUTHS
from frdiff.compare import psnr
from frdiff.run.applying import Run
from frdiff.sampling import sample
from frdiff.schedulers.named import CONVERGED_STEPS, converging
from frdiff.setting import Setting

__all__ = ["Gauge", "Measured", "Scene", "gauge_of"]


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
        calls: steps with a network call.
        macs_share: MACs of the denoiser over those of the full run; None if not counted.
        bank_bytes: most bytes stored at a time.
        decibels: median PSNR over the pictures to what the gauge measures against; inf if equal,
            None as long as that is not drawn.
        notes: warnings of the run.
        run: that has calls, MACs and bytes yet to be counted, which takes seconds once; None if
            they are.
    """

    name: str
    kind: str
    setting: Setting
    images: np.ndarray
    seconds: float
    calls: int
    macs_share: float | None
    bank_bytes: int
    decibels: float | None = None
    notes: tuple[str, ...] = ()
    run: Run | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Gauge:
    """Measures ways of drawing a scene.

    Attributes:
        full: the full run.
        against: what decibels are to, one of `TRUTHS`.
        truth: its pictures; None as long as they are not drawn, and nothing has decibels.
    """

    scene: Scene
    full: Measured
    against: str
    truth: np.ndarray | None = None

    def measure(self, name: str, kind: str, setting: Setting, pace: Pace) -> Measured:
        """A way of drawing, drawn once; before that untimed, where features are stored.

        Raises:
            Stopped: somebody asked to.
            ValueError: the policy does not fit the pipeline.
        """
        return self.told(self.drawn(name, kind, setting, pace))

    def drawn(self, name: str, kind: str, setting: Setting, pace: Pace) -> Measured:
        """See `measure`; what takes time to count is not counted yet."""
        one = _drawn(self.scene, name, kind, setting, pace)
        if one.run is not None:
            return one
        return replace(one, macs_share=one.calls / self.full.calls)

    def told(self, one: Measured) -> Measured:
        """The same with all figures; decibels only if what they are to is drawn."""
        if one.run is not None:
            stats = one.run.stats
            passes = None if stats.macs_ratio is None else stats.macs_ratio * stats.steps
            one = replace(
                one,
                calls=stats.steps - stats.jumps,
                macs_share=None if passes is None else passes / self.full.calls,
                bank_bytes=stats.bank_bytes_peak,
                run=None,
            )
        if self.truth is None:
            return one
        return replace(one, decibels=statistics.median(psnr(self.truth, one.images)))

    def with_truth(self, pace: Pace) -> "Gauge":
        """The same with what decibels are to drawn.

        Raises:
            Stopped: somebody asked to.
        """
        truth, solver = self.full.images, converging(self.scene.pipe.scheduler)
        if self.against == TRUTHS[0] and solver is not None:
            with pace.held(), Setting(CONVERGED_STEPS, None, solver).attached(self.scene.pipe):
                truth = self.scene.draw(CONVERGED_STEPS)
        gauge = replace(self, truth=truth)
        return replace(gauge, full=gauge.told(self.full))


def gauge_of(scene: Scene, full: Setting, against: str, pace: Pace) -> Gauge:
    """What measures ways of drawing a scene, the full run drawn, and not yet what decibels are to.

    Args:
        full: without a policy.
        against: one of `TRUTHS`. Where no solver is known to reach the converged solution, the
            full run stands for it.

    Raises:
        Stopped: somebody asked to.
    """
    if converging(scene.pipe.scheduler) is None:
        against = TRUTHS[1]
    drawn = _drawn(scene, "full run", "full", full, pace)
    return Gauge(scene, replace(drawn, macs_share=1.0), against)


def _drawn(scene: Scene, name: str, kind: str, setting: Setting, pace: Pace) -> Measured:
    """A way of drawing without decibels, and with what its run did not yet counted."""
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
        steps = len(scene.pipe.scheduler.timesteps)
    notes = (" ".join(str(one.message).split()) for one in told if one.category is UserWarning)
    said = tuple(dict.fromkeys(notes))
    return Measured(name, kind, setting, images, seconds, steps, None, 0, None, said, run)
