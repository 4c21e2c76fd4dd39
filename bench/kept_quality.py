"""Is `min_psnr` kept? Seeded repetitions of `frdiff.tune`, checked on other prompts and noises.

    python bench/kept_quality.py [--model emoji] [--min-psnr 40] [--repetitions 10]

Prints, per repetition, the cost of the policy in full steps and its median PSNR in dB to the
converged solution, on pictures that the search has not seen.
"""

import argparse
import time

from shipped import Shipped, options_of, tuned_setting

import frdiff
from frdiff.models import shipped_captions
from frdiff.sampling import set_scheduler

SOLVER, STEPS, SEED = "dpm++", 25, 700_000
SLACK = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--min-psnr", type=float, default=40.0)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--pictures", type=int, default=64)
    options = options_of(parser)
    captions = shipped_captions(options.model)
    # Every third prompt is kept from the search.
    shipped = Shipped(options.model, options.pictures, SEED, captions[::3])
    set_scheduler(shipped.pipe, SOLVER)
    kept = 0
    for seed in range(options.first_seed, options.first_seed + options.repetitions):
        began = time.perf_counter()
        policy = frdiff.tune(
            shipped.pipe,
            [name for i, name in enumerate(captions) if i % 3],
            num_steps=STEPS,
            min_psnr=options.min_psnr,
            guidance=shipped.guidance,
            inputs=shipped.inputs,
            allow_scheduler=True,
            evaluations=options.evaluations,
            seed=seed,
        )
        seconds = time.perf_counter() - began
        decibels = shipped.decibels(tuned_setting(policy, SOLVER))
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
