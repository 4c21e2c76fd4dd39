"""Contenders side by side: the same pictures from the same noise, with time, cost and fidelity."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageDraw, ImageFont, ImageOps

from frdiff.policy import Policy
from frdiff.run.applying import Stats
from frdiff.sampling import sample
from frdiff.schedulers.named import converging
from frdiff.setting import Setting

__all__ = ["Contender", "Outcome", "compare", "draw_grid", "picture", "psnr", "ssim"]


@dataclass(frozen=True)
class Contender:
    """One way of drawing.

    Attributes:
        steps, policy, scheduler: see `Setting`.
    """

    name: str
    steps: int
    policy: Policy | None = None
    scheduler: str | None = None
    max_bytes: int | None = None

    @property
    def setting(self) -> Setting:
        """Apart from the name."""
        return Setting(self.steps, self.policy, self.scheduler)


@dataclass(frozen=True)
class Outcome:
    """What a contender drew and what it cost.

    Attributes:
        images: (N, H, W, C), or (N, frames, H, W, C), float32 in [0, 1].
        rounds: wall-clock seconds of each whole pipeline call, text and decoder included.
        speedup: the first contender's median seconds / these median seconds.
        macs_ratio: MACs of the denoiser / those of the first contender; None if not counted.
        psnr: median over pictures against the first contender's, in dB; inf if equal.
        ssim: likewise, structural similarity.
        psnr_converged: median over pictures against the converged solution; None if not asked for.
        stats: of the run; None for the untouched pipeline.
        peak_bytes: most bytes that were allocated on a CUDA device in a call, model and all; None
            elsewhere, where nobody counts them.
    """

    name: str
    steps: int
    images: np.ndarray
    rounds: tuple[float, ...]
    speedup: float
    macs_ratio: float | None
    psnr: float
    ssim: float
    psnr_converged: float | None
    stats: Stats | None
    peak_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """Median over rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far rounds lie from the middle of the fastest and the slowest, as a share of it."""
        return (max(self.rounds) - min(self.rounds)) / (max(self.rounds) + min(self.rounds))

    def row(self) -> dict[str, float | int | str | None]:
        """The figures without the pictures, ready for JSON: an infinite PSNR is None."""
        return {
            "name": self.name,
            "steps": self.steps,
            "seconds": self.seconds,
            "seconds_spread": self.spread,
            "speedup": self.speedup,
            "macs_ratio": self.macs_ratio,
            "psnr": _finite(self.psnr),
            "ssim": self.ssim,
            "psnr_converged": _finite(self.psnr_converged),
            "bank_bytes_peak": self.stats.bank_bytes_peak if self.stats else 0,
            "peak_bytes": self.peak_bytes,
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def compare(
    pipe: DiffusionPipeline,
    contenders: Sequence[Contender],
    prompts: Sequence[str | int],
    *,
    seed: int = 0,
    guidance: float | None = None,
    repeats: int = 3,
    converged: int | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    on_call: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """One outcome per contender; the first is what the others are measured against.

    Rounds alternate between the contenders, so that a machine that slows down slows all of them.

    Args:
        contenders: the first without a policy.
        repeats: rounds, at least 1; seconds are medians over them, speed-ups ratios of these.
        converged: steps of the untouched pipeline that count as converged, to measure against
            that solution too; with the scheduler that comes closest, where it draws the same. The
            first contender has an error of its own, and one with fewer steps errs in the same
            direction, so likeness to the first alone flatters it.
        inputs: further arguments of the pipeline.
        on_call: called after each timed pipeline call; there are `repeats * len(contenders)`.
    """
    if not contenders or contenders[0].policy is not None:
        raise ValueError("the first contender must be the untouched pipeline, policy=None")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    draw = partial(_draw, pipe, prompts=prompts, seed=seed, guidance=guidance, inputs=inputs)
    truth = None
    if converged is not None:
        solver = converging(pipe.scheduler)
        truth = draw(Contender("", converged, None, solver))[0]
    seconds: list[list[float]] = [[] for _ in contenders]
    images: list[np.ndarray] = []
    stats: list[Stats | None] = []
    evaluations: list[int] = []
    peaks: list[int | None] = []
    for repeat in range(repeats):
        for contender, times in zip(contenders, seconds, strict=True):
            drawn, took, figures, calls, peak = draw(contender)
            times.append(took)
            on_call()
            if repeat == 0:
                images.append(drawn)
                stats.append(figures)
                evaluations.append(calls)
                peaks.append(peak)

    def macs_ratio(figures: Stats | None, calls: int) -> float | None:
        own = figures.macs_ratio if figures else 1.0
        return None if own is None else own * calls / evaluations[0]

    return [
        Outcome(
            name=contender.name,
            steps=contender.steps,
            images=drawn,
            rounds=tuple(times),
            speedup=statistics.median(seconds[0]) / statistics.median(times),
            macs_ratio=macs_ratio(figures, calls),
            psnr=statistics.median(psnr(images[0], drawn)),
            ssim=statistics.median(ssim(images[0], drawn)),
            psnr_converged=None if truth is None else statistics.median(psnr(truth, drawn)),
            stats=figures,
            peak_bytes=peak,
        )
        for contender, drawn, figures, times, calls, peak in zip(
            contenders, images, stats, seconds, evaluations, peaks, strict=True
        )
    ]


def _draw(
    pipe: DiffusionPipeline,
    contender: Contender,
    prompts: Sequence[str | int],
    seed: int,
    guidance: float | None,
    inputs: Mapping[str, Any],
) -> tuple[np.ndarray, float, Stats | None, int, int | None]:
    """Pictures, seconds, what a policy did, steps of the run, and most bytes on the device."""
    counted = torch.cuda.is_available()
    with contender.setting.attached(pipe, contender.max_bytes) as run:
        if counted:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        images = sample(
            pipe, prompts, steps=contender.steps, seed=seed, guidance=guidance, inputs=inputs
        )
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() or None if counted else None
        if run is None:
            return images, seconds, None, len(pipe.scheduler.timesteps), peak
        return images, seconds, run.stats, run.stats.steps, peak


def psnr(reference: np.ndarray, images: np.ndarray) -> list[float]:
    """Peak signal-to-noise ratio of each picture or video in dB, values in [0, 1]; inf if equal."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # a second of imports

    pairs = zip(_tensors(reference), _tensors(images), strict=True)
    return [peak_signal_noise_ratio(image, truth, data_range=1.0).item() for truth, image in pairs]


def ssim(reference: np.ndarray, images: np.ndarray) -> list[float]:
    """Structural similarity of each picture, at most 1, values in [0, 1]; of a video the mean."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = zip(_tensors(reference), _tensors(images), strict=True)
    return [
        structural_similarity_index_measure(image, truth, data_range=1.0).item()
        for truth, image in pairs
    ]


def _tensors(images: np.ndarray) -> list[torch.Tensor]:
    """Pictures as (1, C, H, W), videos as (frames, C, H, W)."""
    frames = (torch.from_numpy(image).reshape(-1, *image.shape[-3:]) for image in images)
    return [image.permute(0, 3, 1, 2) for image in frames]


def picture(image: np.ndarray) -> Image.Image:
    """The picture of values (H, W, C) in [0, 1], C being 1 for grey, 3 for colour.

    Raises:
        ValueError: another shape.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"a picture is (H, W, 1) or (H, W, 3), got {image.shape}")
    values = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(values[..., 0] if image.shape[-1] == 1 else values)


def draw_grid(
    rows: Sequence[tuple[str, np.ndarray]], columns: Sequence[str], cell: int = 128
) -> Image.Image:
    """A labelled sheet: one row per (caption, pictures), one column per name.

    Args:
        rows: captions, which may have several lines, and pictures (N, H, W, C) in [0, 1], or
            videos (N, frames, H, W, C), which show their middle frame.
        columns: N names.
        cell: least side of the square that a picture gets, in pixels; larger pictures keep their
            size, and all keep their shape.
    """
    cell = max(cell, *rows[0][1].shape[-3:-1])
    font = ImageFont.load_default(15)
    small = ImageFont.load_default(13)
    margin = 12 + max(int(font.getlength(line)) for name, _ in rows for line in name.split("\n"))
    sheet = Image.new("RGB", (margin + cell * len(columns), 26 + cell * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for x, name in enumerate(" ".join(column.split()) for column in columns):
        while small.getlength(name) > cell - 6:
            name = name[:-2] + "…"
        pen.text((margin + x * cell + cell / 2, 13), name, "black", font=small, anchor="mm")
    for y, (name, images) in enumerate(rows):
        pen.multiline_text((6, 26 + y * cell + cell / 2), name, "black", font=font, anchor="lm")
        for x, image in enumerate(images):
            tile = picture(image[len(image) // 2] if image.ndim == 4 else image)
            tile = ImageOps.pad(tile, (cell, cell), Image.Resampling.LANCZOS, color="white")
            sheet.paste(tile, (margin + x * cell, 26 + y * cell))
    return sheet
