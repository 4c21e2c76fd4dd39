"""Do forecasts extrapolate better in the step index or in the noise level? On the shipped model.

    python bench/coordinate.py [--prompts 24]

Prints, per solver and policy, the median PSNR in dB to the full run of the same solver and steps.
"""

import argparse
import dataclasses
import random
import statistics

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler
from rich.progress import track

import frdiff
from frdiff.compare import psnr
from frdiff.models import shipped_captions
from frdiff.run.applying import apply
from frdiff.sampling import sample

SOLVERS = {
    "DPM-Solver++, even timesteps": (DPMSolverMultistepScheduler, {}, 25),
    "DPM-Solver++, Karras spacing": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}, 25),
    "DPM-Solver++, even log-SNR": (DPMSolverMultistepScheduler, {"use_lu_lambdas": True}, 25),
    "UniPC, even timesteps": (UniPCMultistepScheduler, {}, 25),
    "Heun (49 evaluations)": (HeunDiscreteScheduler, {}, 25),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = frdiff.load_model("emoji")
    prompts = random.Random(0).sample(shipped_captions("emoji"), options.prompts)
    config = pipe.scheduler.config

    def draw(steps: int) -> np.ndarray:
        return sample(pipe, prompts, steps=steps, guidance=options.guidance)

    lines = []
    for name, (kind, settings, steps) in track(SOLVERS.items(), "solvers"):
        pipe.scheduler = kind.from_config(config, **settings)
        full = draw(steps)
        for interval in (2, 3):
            for forecast in (1, 2):
                policy = frdiff.UniformPolicy(
                    interval, mixing=False, forecast=forecast, targets="residual"
                )
                figures = {}
                for coordinate in ("step", "noise"):
                    with apply(pipe, dataclasses.replace(policy, coordinate=coordinate)):
                        figures[coordinate] = statistics.median(psnr(full, draw(steps)))
                lines.append(
                    f"{name:30}{interval:9}{forecast:10}{figures['step']:8.1f}"
                    f"{figures['noise']:8.1f}"
                )
    print(f"{'solver':30} interval  forecast    step   noise")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
