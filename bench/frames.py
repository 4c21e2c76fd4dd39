"""What reuse from frame to frame is worth: a VAE's decoder and a GAN's generator, and edits.

    python bench/frames.py [--generator emoji-gan] [--frames 60] [--rounds 3] [--threads 1] [--json]

Clips: a walk between pictures, in the latents of `emoji`'s VAE; a picture that is panned by a pixel
a frame, encoded by it; and a walk between anchors of a generator. Each is drawn
in full and, in turns with that, by what a user would do otherwise, pixels interpolated between
frames and half the resolution, and by reuse. Then edits: a tenth of a picture is changed, and only
what that reaches is decoded again. Writes docs/frames.md and its clip.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

import frdiff
from frdiff.frames import (
    ClipOutcome,
    FramePolicy,
    animate,
    compare,
    load_generator,
    regions,
    tune,
    walk,
)
from frdiff.frames.comparing import psnr

sys.path.append(str(Path(__file__).parents[1]))

from training.data import motifs

SPEEDS = (1.5, 2.0, 3.0)
ENDS = ("red apple", "panda face", "hamburger", "wolf", "red heart")
PANNED = ("panda face", "red apple", "wolf", "penguin")
# Of the clips on the page, by what they are called under them.
SHOWN = {
    "walk": {"full": "full", "3x: tuned": "3x: tuned", "3x: pixels, linear": "3x: linear"},
    "generator": {
        "full": "full",
        "1.5x: tuned": "1.5x: tuned",
        "1.5x: pixels, linear": "1.5x: linear",
    },
}
PAGE, CLIPS = Path("docs/frames.md"), Path("docs")


@dataclass(frozen=True)
class Case:
    """A clip: what makes it, and the inputs of its frames."""

    name: str
    network: nn.Module
    inputs: Tensor
    make: Callable[[Tensor], Any] | None = None


def cases(num_frames: int, generator_name: str) -> list[Case]:
    """All clips."""
    vae = frdiff.load_model("emoji").vae.eval()
    pictures, captions, _ = motifs()

    def decode(latent: Tensor) -> Tensor:
        return vae.decode(latent).sample

    def encode(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([vae.encode(row[None]).latent_dist.mode() for row in rows])

    shown = [pictures[captions.index(name)] for name in ENDS]
    canvas = torch.cat([pictures[captions.index(name)] for name in PANNED], dim=2)
    pan = torch.stack([canvas[..., x : x + 64] for x in range(num_frames)])
    generator, names = load_generator(generator_name)
    anchors = generator.anchors[[names.index(name) for name in ENDS]]
    return [
        Case("walk", vae.decoder, walk(encode(torch.stack(shown)), num_frames), decode),
        Case("pan", vae.decoder, encode(pan), decode),
        Case("generator", generator, walk(anchors, num_frames)),
    ]


def policies(case: Case) -> dict[str, FramePolicy]:
    """By name; pixels interpolated linearly are what a user would do otherwise."""
    named = {}
    for speed in SPEEDS:
        named[f"{speed:g}x: pixels, linear"] = FramePolicy(speed, 1, ())
        named[f"{speed:g}x: pixels, order 3"] = FramePolicy(speed, 3, ())
        named[f"{speed:g}x: features, order 3"] = FramePolicy(speed, 3, "all")
        named[f"{speed:g}x: tuned"] = tune(case.network, case.inputs, speed, case.make)
    return named


def halved(case: Case) -> dict[str, Callable[[Tensor], Any]]:
    """What decodes latents of half the size and enlarges the frames: a quarter of the MACs."""
    make = case.make
    if make is None:
        return {}  # a generator has one size

    def half(latent: Tensor) -> Tensor:
        frame = make(F.interpolate(latent, scale_factor=0.5, mode="area"))
        return F.interpolate(frame, scale_factor=2.0, mode="bicubic")

    return {"half the resolution": half}


def edits() -> list[dict[str, float]]:
    """A tenth of a picture changed, by the size of the picture: what is computed again."""
    vae = frdiff.load_model("emoji").vae.eval()
    pictures, _, _ = motifs()
    rows = []
    for tiles in (1, 2, 4, 8):
        sheets = [
            torch.cat([torch.cat(list(row), 2) for row in part.unflatten(0, (tiles, tiles))], 1)
            for part in (pictures[: tiles**2], pictures[100 : 100 + tiles**2])
        ]
        with torch.no_grad():
            one, other = (vae.encode(sheet[None]).latent_dist.mode() for sheet in sheets)
            size = one.shape[-1]
            side = round(size * 0.1**0.5)
            box = slice((size - side) // 2, (size - side) // 2 + side)
            edited = one.clone()
            edited[..., box, box] = other[..., box, box]
            plain = vae.decode(edited).sample
            with regions(vae.decoder) as kept:
                vae.decode(one)
                again = vae.decode(edited).sample
                share, nbytes = kept.macs / kept.full_macs, kept.nbytes
                seconds = [_seconds(vae, latents) for latents in (one, edited) * 3]
                kept.forget(norms=False)
                whole = vae.decode(edited).sample
            full = [_seconds(vae, edited) for _ in seconds]
        rows.append(
            {
                "pixels": 4 * size,
                "edited": side**2 / size**2,
                "macs": share,
                "difference": float((again - whole).abs().max()),
                "psnr": psnr(plain.clamp(-1, 1), again.clamp(-1, 1))[0],
                "speedup": statistics.median(full) / statistics.median(seconds),
                "mib": nbytes / 2**20,
            }
        )
    return rows


def _seconds(vae: Any, latents: Tensor) -> float:
    began = time.perf_counter()
    vae.decode(latents)
    return time.perf_counter() - began


INTRODUCTION = """# From frame to frame, measured

What [beyond.md](beyond.md) describes, on the shipped models."""

EDITS = """## Edits

A tenth of a picture edited, in its middle, with `frdiff.frames.regions(vae.decoder)`: the share of
MACs computed, the greatest difference to computing all with the norms held, and dB to the plain
decoder, whose norms move the rest of the picture, too."""


def page(
    found: dict[str, list[ClipOutcome]],
    chosen: dict[str, dict[str, FramePolicy]],
    edited: list[dict[str, float]],
    options: argparse.Namespace,
) -> list[str]:
    """The lines of the page."""
    lines = [INTRODUCTION, ""]
    machine = f"float32, {platform.machine()} CPU, {options.threads} thread(s)"
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    lines += [
        f"`python bench/frames.py`: {options.frames} frames one by one, {machine}, {versions};",
        f"medians of {options.rounds} rounds in turns. dB to the full clip, of all its pixels;",
        "flicker: mean change from frame to frame, over the full clip's. *Walk*: between five",
        "pictures in the latents of `emoji`'s VAE. *Pan*: four pictures side by side, panned by a",
        "pixel a frame, encoded. The policy: interval, order, targets, placing; `none` stores no",
        "features, so that whole frames are interpolated. *Generator*: between five anchors of",
        "`emoji-gan`.",
        "",
    ]
    for name, outcomes in found.items():
        lines += [f"## {name.capitalize()}", "", *_table(outcomes, chosen[name]), ""]
        if name in SHOWN:
            lines += [f"![{', '.join(SHOWN[name])}](frames-{name}.gif)", ""]
    lines += [
        EDITS,
        "",
        "| pixels | edited | MACs | difference | dB to plain | speed-up | kept MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in edited:
        cells = [
            f"{row['pixels']:.0f}",
            f"{row['edited']:.1%}",
            f"{row['macs']:.2f}",
            f"{row['difference']:.0e}",
            f"{row['psnr']:.1f}",
            f"{row['speedup']:.2f}x",
            f"{row['mib']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _table(outcomes: list[ClipOutcome], chosen: dict[str, FramePolicy]) -> list[str]:
    rows = [
        "| | policy | seconds | speed-up | MACs | dB | worst frame | flicker | bank MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        policy, stats = chosen.get(one.name), one.stats
        said = ""
        if policy is not None:
            targets = policy.targets or "none"
            said = f"{policy.interval:.2f}, {policy.order}, {targets}, {policy.placing}"
        cells = [
            one.name,
            said,
            f"{one.seconds:.2f}",
            f"{one.speedup:.2f}x",
            "" if stats is None else f"{stats.macs_ratio:.2f}",
            f"{one.psnr:.1f}",
            f"{one.worst:.1f}",
            f"{one.flicker:.3f}",
            "" if stats is None else f"{stats.bank_bytes_peak / 2**20:.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="emoji-gan", help="or the folder of another")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="rows on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[ClipOutcome]] = {}
    chosen: dict[str, dict[str, FramePolicy]] = {}
    for case in track(cases(options.frames, options.generator), "clips"):
        chosen[case.name] = policies(case)
        outcomes = found[case.name] = compare(
            case.network,
            case.inputs,
            chosen[case.name],
            case.make,
            others=halved(case),
            rounds=options.rounds,
        )
        if case.name in SHOWN:
            names = SHOWN[case.name]
            shown = [replace(row, name=names[row.name]) for row in outcomes if row.name in names]
            animate(shown, CLIPS / f"frames-{case.name}.gif")
    edited = edits()
    if options.json:
        clips = {name: [outcome.row() for outcome in rows] for name, rows in found.items()}
        print(json.dumps({"clips": clips, "edits": edited}, indent=1))
        return
    text = "\n".join(page(found, chosen, edited, options))
    PAGE.write_text(text + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
