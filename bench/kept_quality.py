"""Is `min_psnr` kept? Seeded repetitions of `frdiff.tune`, checked on other prompts and noises.

    python bench/kept_quality.py [--model emoji] [--min-psnr 40] [--repetitions 10]

Prints, per repetition, the cost of the policy in full steps and its median PSNR in dB to the
converged solution, on pictures that the search has not seen.
"""

import argparse
import statistics
import time

import numpy as np
import torch

import frdiff
from frdiff.bench.runner import choose_prompts
from frdiff.compare import psnr
from frdiff.models import GUIDANCE, shipped_captions
from frdiff.sampling import CONVERGED, CONVERGED_STEPS, sample, set_scheduler

STEPS, SEED, BATCH = 25, 700_000, 16
SLACK = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--min-psnr", type=float, default=40.0)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = frdiff.load_model(options.model)
    captions, guidance = shipped_captions(options.model), GUIDANCE[options.model]
    # Every third prompt is kept from the search.
    unseen = choose_prompts(captions[::3], options.pictures, 0)
    searched = [name for i, name in enumerate(captions) if i % 3]

    def draw(steps: int) -> np.ndarray:
        return np.concatenate(
            [
                sample(
                    pipe,
                    unseen[start : start + BATCH],
                    steps=steps,
                    seed=SEED + start,
                    guidance=guidance,
                )
                for start in range(0, len(unseen), BATCH)
            ]
        )

    set_scheduler(pipe, CONVERGED)
    truth = draw(CONVERGED_STEPS)
    kept = 0
    for seed in range(options.repetitions):
        began = time.perf_counter()
        set_scheduler(pipe, "dpm++")
        policy = frdiff.tune(
            pipe,
            searched,
            num_steps=STEPS,
            min_psnr=options.min_psnr,
            guidance=guidance,
            allow_scheduler=True,
            evaluations=options.evaluations,
            seed=seed,
        )
        seconds = time.perf_counter() - began
        if policy.origin.solver is not None:
            set_scheduler(pipe, policy.origin.solver)
        with frdiff.apply(pipe, policy):
            decibels = statistics.median(psnr(truth, draw(policy.origin.num_inference_steps)))
        kept += decibels >= options.min_psnr - SLACK
        figures = policy.origin.figures
        print(
            f"seed {seed}: cost {figures['cost']:.1f} of {STEPS} steps, {decibels:.1f} dB "
            f"({figures['held_out_db']:.1f} in the search), {figures['search_runs']:.0f} full "
            f"runs, {seconds:.0f} s",
            flush=True,
        )
    print(f"{options.min_psnr:g} dB kept to {SLACK} dB in {kept} of {options.repetitions}")


if __name__ == "__main__":
    main()
