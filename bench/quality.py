"""Is reuse better than fewer steps of the same solver at the same MACs? On the shipped model.

    python bench/quality.py [--prompts 64] [--guidance 2.0] [--output bench/quality.json]

Fidelity is the median PSNR of the pictures to the converged solution from the same noise. Two
solvers must agree on that solution to 45 dB before anything is compared with it.
"""

import argparse
import dataclasses
import json
import platform
import random
import statistics
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

import frdiff
from frdiff.compare import psnr
from frdiff.models import shipped_captions
from frdiff.run import apply
from frdiff.sampling import sample, set_scheduler

CONVERGED = 200
AGREEMENT = 45.0
FEWER = (7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 25, 30)
UNIFORM = {2: (15, 17, 19, 21, 25, 29, 31), 3: (19, 22, 25, 28, 31)}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way of drawing, named for the table."""

    name: str
    steps: int
    policy: frdiff.Policy | None = None
    scheduler: str = "dpm++"


def settings() -> list[Setting]:
    """Fewer steps, copies and forecasts, and the paper's policies."""
    rows = [Setting("fewer steps", steps) for steps in FEWER]
    for name, forecast in (("linear", 1), ("quadratic", 2), ("copy", 0)):
        for interval, counts in UNIFORM.items():
            for steps in counts if forecast == 1 else counts[1::2]:
                policy = frdiff.UniformPolicy(
                    interval, mixing=False, forecast=forecast, targets="residual"
                )
                rows.append(Setting(f"residual, {name}, interval {interval}", steps, policy))
    rows += [Setting("DDIM, fewer steps", steps, None, "ddim") for steps in (20, 30, 50)]
    for interval in (2, 3):
        paper = frdiff.UniformPolicy(interval, bias=0.5)
        rows.append(Setting(f"paper, interval {interval}", 25, paper))
        rows.append(Setting(f"paper, interval {interval}, DDIM", 50, paper, "ddim"))
    return rows


def above_fewer_steps(cost: float, quality: float, curve: dict[float, float]) -> float:
    """dB above fewer steps at the same cost, linearly between the measured step counts."""
    costs = sorted(curve)
    return quality - float(np.interp(cost, costs, [curve[c] for c in costs]))


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "quality.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = frdiff.load_model("emoji")
    prompts = random.Random(options.seed).sample(shipped_captions("emoji"), options.prompts)

    def draw(setting: Setting) -> np.ndarray:
        set_scheduler(pipe, setting.scheduler)
        return sample(
            pipe, prompts, steps=setting.steps, seed=options.seed, guidance=options.guidance
        )

    truth = draw(Setting("converged", CONVERGED))
    check = draw(Setting("converged", CONVERGED, None, "unipc"))
    agreement = statistics.median(psnr(truth, check))
    print(f"DPM-Solver++ and UniPC at {CONVERGED} steps agree to {agreement:.1f} dB (median)")
    if agreement < AGREEMENT:
        raise SystemExit(f"not converged: {agreement:.1f} dB, need {AGREEMENT}")

    rows = []
    for setting in track(settings(), "drawing"):
        cost = float(setting.steps)
        if setting.policy is None:
            images = draw(setting)
        else:
            set_scheduler(pipe, setting.scheduler)
            with apply(pipe, setting.policy) as run:
                images = sample(
                    pipe, prompts, steps=setting.steps, seed=options.seed, guidance=options.guidance
                )
                cost *= run.stats.macs_ratio
        quality = statistics.median(psnr(truth, images))
        rows.append({"name": setting.name, "steps": setting.steps, "cost": cost, "psnr": quality})
    curve = {row["cost"]: row["psnr"] for row in rows if row["name"] == "fewer steps"}
    print("\npolicy                          steps  passes  PSNR dB  above fewer steps")
    for row in rows:
        row["above"] = above_fewer_steps(row["cost"], row["psnr"], curve)
        print(
            f"{row['name']:32}{row['steps']:5}{row['cost']:8.1f}{row['psnr']:9.1f}"
            f"{row['above']:+12.1f}"
        )
    about = {
        "model": "emoji", "prompts": options.prompts, "seed": options.seed,
        "guidance": options.guidance, "agreement_db": agreement, "converged_steps": CONVERGED,
        "dtype": "float32", "device": platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    options.output.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
