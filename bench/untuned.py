"""Is what the README recommends without tuning safe? At every guidance and number of calls.

    python bench/untuned.py [--models emoji emoji-dit] [--counts 8 12 16 20 25] [--json]

Draws with the scheduler that a pipeline comes with, and with the recommendation at as many network
calls, and writes the median PSNR in dB to the converged solution to docs/untuned.md. What is
measured lies in outputs/untuned, a file per model; run again, it goes on where it was.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from shipped import At, options_of, tell, track

import frdiff
from frdiff.models import GUIDANCE, shipped_models
from frdiff.schedulers.named import is_flow
from frdiff.search.measure import decibels, middle
from frdiff.setting import Setting

SEED = 900_000
FOUND = Path("outputs/untuned")
PAGE = Path("docs/untuned.md")
POLICY = frdiff.JumpPolicy(2, checked=True)
ALLOWED = 1.0


def cells_of(model: str, scales: Sequence[float], counts: Sequence[int]) -> list[str]:
    """The names of a model's cells: guidance scale and number of calls."""
    guided = GUIDANCE[model] is not None
    return [f"{scale:g} {n}" for scale in (scales if guided else (1.0,)) for n in counts]


def measure(model: str, cells: Sequence[str], pictures: int) -> dict[str, list[float]]:
    """By cell, dB of the own scheduler and of the recommendation."""
    path = FOUND / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text()) if path.exists() else {}
    held: dict[str, At] = {}
    for cell in track([cell for cell in cells if cell not in found], model):
        scale, count = cell.split()
        if scale not in held:
            scaled = None if GUIDANCE[model] is None else float(scale)
            held = {scale: At(model, pictures, SEED, scale=scaled)}
        shipped = held[scale]
        flow = is_flow(shipped.pipe.scheduler)
        own = None if flow else "dpm++"
        levels = "flow-euler-karras" if flow else "dpm++karras"
        ours = Setting(2 * int(count) - 1, POLICY, levels)
        row = [
            middle(decibels(shipped.truth, shipped.draw(setting), 1.0))
            for setting in (Setting(int(count), None, own), ours)
        ]
        found[cell] = [round(value, 2) for value in row]
        path.write_text(json.dumps(found, indent=1) + "\n")
    return {cell: found[cell] for cell in cells}


def table(model: str, rows: dict[str, list[float]], counts: Sequence[int]) -> list[str]:
    """Markdown: a line per guidance scale, a column per number of calls, the worst cell bold."""
    worst = min(rows, key=lambda cell: rows[cell][1] - rows[cell][0])
    lines = [
        f"| `{model}`, guidance | " + " | ".join(f"{n} calls" for n in counts) + " |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for scale in dict.fromkeys(cell.split()[0] for cell in rows):
        line = f"| {'none' if GUIDANCE[model] is None else scale} |"
        for n in counts:
            own, ours = rows[f"{scale} {n}"]
            text = f"{own:.1f} -> {ours:.1f} ({ours - own:+.1f})"
            line += f" **{text}** |" if worst == f"{scale} {n}" else f" {text} |"
        lines.append(line)
    return [*lines, ""]


def page(measured: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> str:
    """The page of all tables."""
    gaps = [ours - own for rows in measured.values() for own, ours in rows.values()]
    worse = sum(gap < -ALLOWED for gap in gaps)
    kept = (
        f"{worse or 'none'} of the {len(gaps)} cells lies more than {ALLOWED:g} dB below the own "
        "scheduler"
    )
    lines = [
        "# What is recommended without tuning, at every guidance",
        "",
        "dB of median PSNR to the converged solution: the scheduler as it comes (DPM-Solver++, "
        "steps even in time; for flow matching Euler) -> `JumpPolicy(2, checked=True)` on Karras' "
        "noise levels with as many network calls, n calls on 2n - 1 steps. The worst cell of a "
        f"model is bold; {kept}. Most of what is gained, Karras' levels gain; jumps add to it, and "
        "the check keeps both from harm. Where both lie below 20 dB neither draws the picture: "
        "take more steps, or tune.",
        "",
        f"`make bench-untuned`: {options.pictures} pictures a cell from seed {SEED}, float32, "
        f"{platform.machine()} CPU, torch {torch.__version__}, diffusers {diffusers.__version__}.",
        "",
    ]
    for model, rows in measured.items():
        lines += table(model, rows, options.counts)
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=shipped_models())
    parser.add_argument("--guidance", type=float, nargs="+", default=[1, 2, 3.5, 5, 7.5, 10])
    parser.add_argument("--counts", type=int, nargs="+", default=[8, 12, 16, 20, 25])
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print figures instead of the page")
    options = options_of(parser)
    measured = {
        model: measure(model, cells_of(model, options.guidance, options.counts), options.pictures)
        for model in options.models
    }
    tell(measured, PAGE, page(measured, options), options)


if __name__ == "__main__":
    main()
