"""Do saved MACs turn into time? The shipped U-Net, batch 4, in turns with the untouched one.

    python bench/speed.py [--rounds 10] [--threads 2]

Prints, per policy, the measured speed-up of the sampling loop (median over rounds of the ratio
within a round), the one implied by MACs, and their quotient; then what a policy that computes every
step costs.
"""

import argparse
import statistics
import time
import warnings

import torch
from diffusers import DiffusionPipeline
from rich.progress import track

import frdiff
from frdiff.run import apply

STEPS, BATCH = 25, 4


@torch.no_grad()
def sampling_seconds(pipe: DiffusionPipeline, context: torch.Tensor) -> float:
    """Wall-clock seconds of one run of the U-Net and the scheduler."""
    x = torch.randn(BATCH, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    began = time.perf_counter()
    pipe.scheduler.set_timesteps(STEPS)
    for t in pipe.scheduler.timesteps:
        score = pipe.unet(x, t, context, return_dict=False)[0]
        x = pipe.scheduler.step(score, t, x, return_dict=False)[0]
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    pipe = frdiff.load_model("emoji")
    tokens = pipe.tokenizer(
        ["red apple"] * BATCH, padding="max_length", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        context = pipe.text_encoder(tokens).last_hidden_state

    policies = {
        f"interval {n}, {name}": frdiff.UniformPolicy(n, **settings)
        for n in (2, 3)
        for name, settings in {
            "residual, linear": {"mixing": False, "forecast": 1, "targets": "residual"},
            "residual, copy": {"mixing": False, "targets": "residual"},
            "paper": {},
        }.items()
    }
    policies["every step computed"] = frdiff.UniformPolicy(1)
    ratios = {name: [] for name in policies}
    implied = {}
    sampling_seconds(pipe, context)
    for turn in track(range(options.rounds), "in turns"):
        for name, policy in policies.items():
            # Each goes first half of the time: whoever follows finds another machine.
            full = sampling_seconds(pipe, context) if turn % 2 else None
            with apply(pipe, policy) as run:
                ours = sampling_seconds(pipe, context)
                implied[name] = 1 / run.stats.macs_ratio
            full = full or sampling_seconds(pipe, context)
            ratios[name].append(full / ours)
    print(
        f"{STEPS} DPM-Solver++ steps, batch {BATCH}, float32, CPU, {options.threads} threads, "
        f"torch {torch.__version__}, {options.rounds} rounds"
    )
    print(f"{'policy':30} measured  by MACs  quotient")
    for name, values in ratios.items():
        speed = statistics.median(values)
        print(f"{name:30} {speed:7.3f}x {implied[name]:7.3f}x {speed / implied[name]:8.3f}")


if __name__ == "__main__":
    main()
