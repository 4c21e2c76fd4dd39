"""Clips compared: seconds, nearness to the full clip, and flicker, measured in turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import truediv
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from frdiff.compare import draw_grid
from frdiff.frames.drawing import draw, in_full
from frdiff.policy import Policy
from frdiff.run.stats import Stats

__all__ = ["ClipOutcome", "animate", "compare", "flicker", "psnr", "walk"]

CEILING = 100.0


@dataclass(frozen=True)
class ClipOutcome:
    """What a policy made of a clip.

    Attributes:
        name: as given; "full" without a policy.
        frames: (N, 3, H, W), in [-1, 1], in the memory of the host.
        seconds: for all frames, the median over rounds.
        speedup: median over rounds of the full clip's seconds over its.
        psnr: dB to the full clip, of all pixels of all frames; at most 100.
        worst: dB of the worst frame.
        flicker: mean change from frame to frame, over that of the full clip.
        stats: figures of the clip; None where there was no policy.
    """

    name: str
    frames: Tensor
    seconds: float
    speedup: float
    psnr: float
    worst: float
    flicker: float
    stats: Stats | None = None

    def row(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        figures = {name: value for name, value in vars(self).items() if name != "frames"}
        stats = figures.pop("stats")
        if stats is not None:
            figures |= {"macs_ratio": stats.macs_ratio, "bank_bytes": stats.bank_bytes_peak}
        return figures


def walk(ends: Tensor, num_frames: int) -> Tensor:
    """Latents (num_frames, ...) that lead evenly from each of `ends` (K, ...) to the next.

    Raises:
        ValueError: fewer than two ends, or fewer frames than ends.
    """
    if len(ends) < 2 or num_frames < len(ends):
        raise ValueError(
            f"a walk leads between two ends or more, with a frame for each at least, got "
            f"{len(ends)} ends and {num_frames} frames"
        )
    places = torch.linspace(0, len(ends) - 1, num_frames).tolist()
    legs = [min(int(place), len(ends) - 2) for place in places]
    return torch.stack(
        [
            torch.lerp(ends[leg], ends[leg + 1], place - leg)
            for place, leg in zip(places, legs, strict=True)
        ]
    )


def psnr(full: Tensor, frames: Tensor) -> list[float]:
    """dB of every frame to the full one, both in [-1, 1]; at most 100."""
    errors = ((full - frames) / 2).square().flatten(1).mean(dim=1)
    return [min(CEILING, -10 * float(error.clamp_min(1e-20).log10())) for error in errors]


def flicker(frames: Tensor) -> float:
    """The mean change of a pixel from a frame to the next, in [0, 2]."""
    return float((frames[1:] - frames[:-1]).abs().mean())


def compare(
    network: nn.Module,
    inputs: Tensor,
    policies: Mapping[str, Policy],
    make: Callable[[Tensor], Any] | None = None,
    *,
    others: Mapping[str, Callable[[Tensor], Any]] = MappingProxyType({}),
    rounds: int = 3,
    on_clip: Callable[[], None] = lambda: None,
) -> list[ClipOutcome]:
    """The full clip, and what policies and other ways make of it, drawn in turns.

    Args:
        network, inputs, make: see `draw`.
        others: what makes a frame of an input in other ways, without a policy, by name.
        rounds: of drawing them all; a first one, that looks at the network, does not count.
        on_clip: called after each clip.
    """

    def drawn(name: str) -> tuple[Tensor, Stats | None]:
        """The clip, and the figures of its policy if it has one."""
        drawing = draw(network, inputs, policies[name], make) if name in policies else None
        frames = drawing or in_full(network, inputs, others.get(name, make))
        clip = torch.cat([frame.clamp(-1, 1).cpu() for frame in frames])
        return clip, None if drawing is None else drawing.stats

    seconds: dict[str, list[float]] = {name: [] for name in ("full", *policies, *others)}
    clips: dict[str, tuple[Tensor, Stats | None]] = {}
    for turn in range(rounds + 1):
        for name, taken in seconds.items():
            began = time.perf_counter()
            clips[name] = drawn(name)
            if turn:
                taken.append(time.perf_counter() - began)
            on_clip()
    wanted, _ = clips["full"]
    own = flicker(wanted) or 1.0
    return [
        ClipOutcome(
            name,
            frames,
            statistics.median(seconds[name]),
            statistics.median(map(truediv, seconds["full"], seconds[name])),
            psnr(wanted[None], frames[None])[0],
            min(psnr(wanted, frames)),
            flicker(frames) / own,
            stats,
        )
        for name, (frames, stats) in clips.items()
    ]


def animate(outcomes: Sequence[ClipOutcome], path: Path, *, milliseconds: int = 80) -> None:
    """Write the clips beside one another, under their names, as a GIF that repeats.

    Args:
        milliseconds: that a frame is shown.
    """
    names = [_caption(outcome) for outcome in outcomes]
    pictures = [(outcome.frames.permute(0, 2, 3, 1).numpy() + 1) / 2 for outcome in outcomes]
    sheets = [
        draw_grid([("", np.stack(row))], names, cell=128).convert(
            "P", palette=Image.Palette.ADAPTIVE, colors=64
        )
        for row in zip(*pictures, strict=True)
    ]
    sheets[0].save(
        path, save_all=True, append_images=sheets[1:], duration=milliseconds, loop=0, optimize=True
    )


def _caption(outcome: ClipOutcome) -> str:
    if outcome.stats is None:
        return outcome.name
    return f"{outcome.name}, {outcome.psnr:.0f} dB"
