"""What the shipped policies do at every guidance, within their range and beyond it.

    python bench/guidance.py [--models emoji emoji-dit] [--pictures 16] [--json]

Draws with the policies that ship for 2x and 3x, with the recommendation without tuning, and with
fewer steps of every solver, all at as many network calls, and writes the median PSNR in dB to the
converged solution to docs/guidance.md. What is measured lies in outputs/guidance, a file per
model; run again, it goes on where it was.
"""

import argparse
import json
import platform
import warnings
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from shipped import At, options_of, tell, track, tuned_setting

import frdiff
from frdiff.evaluation.suites import suite_of
from frdiff.models import shipped_folder
from frdiff.schedulers.named import is_flow
from frdiff.search.measure import decibels, middle
from frdiff.setting import Setting

SEED = 910_000
FOUND = Path("outputs/guidance")
PAGE = Path("docs/guidance.md")
SCALES = {
    "emoji": (1, 2, 5, 8, 10),
    "emoji-dit": (1, 1.5, 4, 5, 7.5),
    "emoji-flow": (2, 4, 6, 8),
}
SPEEDUPS = (2, 3)
SOLVERS = ("dpm++", "dpm++karras", "unipc", "unipckarras")
FLOW_SOLVERS = ("flow-euler", "flow-euler-karras", "flow-euler-beta", "flow-unipc-karras")
UNTUNED = frdiff.JumpPolicy(2, checked=True)


def policy_of(model: At, speedup: int) -> frdiff.TablePolicy | frdiff.RangePolicy:
    """The policy that ships with a model for a speed-up over its full run."""
    full = suite_of(model.pipe).full
    name = f"{full.scheduler}-{full.steps}-speedup-{speedup}.json"
    return frdiff.load_policy(shipped_folder(model.name) / "policies" / name)


def measure(model: str, scales: Sequence[float], pictures: int) -> dict[str, dict[str, float]]:
    """By guidance scale and speed-up, dB of every setting; what warned has a name that says so."""
    path = FOUND / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text()) if path.exists() else {}
    cells = [(scale, speedup) for scale in scales for speedup in SPEEDUPS]
    held: dict[float, At] = {}
    for scale, speedup in track([cell for cell in cells if f"{cell[0]:g} {cell[1]}x" not in found]):
        if scale not in held:
            held = {scale: At(model, pictures, SEED, scale=float(scale))}
        shipped = held[scale]
        own = shipped.pipe.scheduler
        policy = policy_of(shipped, speedup)
        calls = len(policy.plan(policy.num_steps).keyframes)
        names = FLOW_SOLVERS if is_flow(own) else SOLVERS
        row = {name: quality(shipped, Setting(calls, None, name)) for name in names}
        levels = "flow-euler-karras" if is_flow(own) else "dpm++karras"
        row["not tuned"] = quality(shipped, Setting(2 * calls - 1, UNTUNED, levels))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tuned = quality(shipped, tuned_setting(policy, names[0]))
        warned = any("not tuned for this run" in str(one.message) for one in caught)
        row["tuned, warns" if warned else "tuned"] = tuned
        found[f"{scale:g} {speedup}x"] = row | {"calls": calls}
        path.write_text(json.dumps(found, indent=1) + "\n")
    return {name: row for name, row in found.items() if float(name.split()[0]) in scales}


def quality(model: At, setting: Setting) -> float:
    """dB to the converged solution, rounded."""
    return round(middle(decibels(model.truth, model.draw(setting), 1.0)), 2)


def table(model: str, rows: dict[str, dict[str, float]]) -> list[str]:
    """Markdown: a line per guidance scale and speed-up."""
    lines = [
        f"| `{model}`, guidance | calls | shipped policy | not tuned | best of fewer steps |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        fewer = {key: value for key, value in row.items() if key in (*SOLVERS, *FLOW_SOLVERS)}
        best = max(fewer, key=lambda key: fewer[key])
        tuned = f"{row['tuned']:.1f}" if "tuned" in row else f"{row['tuned, warns']:.1f}, warns"
        scale, speedup = name.split()
        lines.append(
            f"| {scale} | {row['calls']:g} ({speedup}) | {tuned} | {row['not tuned']:.1f} "
            f"| {fewer[best]:.1f} ({best}) |"
        )
    return [*lines, ""]


def page(measured: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> str:
    """The page of all tables."""
    lines = [
        "# Shipped policies at every guidance",
        "",
        "dB of median PSNR to the converged solution, all at as many network calls: the policy "
        "that ships, tuned for the range that users of such a model run; "
        "`JumpPolicy(2, checked=True)` on Karras' noise levels; and the best of four solvers on "
        "even and on Karras' levels. Outside its range a policy warns.",
        "",
        f"`make bench-guidance`: {options.pictures} pictures a cell from seed {SEED}, float32, "
        f"{platform.machine()} CPU, torch {torch.__version__}, diffusers {diffusers.__version__}.",
        "",
    ]
    for model, rows in measured.items():
        lines += table(model, rows)
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="print figures instead of the page")
    options = options_of(parser)
    measured = {model: measure(model, SCALES[model], options.pictures) for model in options.models}
    tell(measured, PAGE, page(measured, options), options)


if __name__ == "__main__":
    main()
