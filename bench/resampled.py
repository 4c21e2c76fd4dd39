"""What a tuned policy loses where it was not tuned: after `.resample`, against tuning anew.

    python bench/resampled.py [--models emoji-dit emoji]

Takes the policy tuned for half the cost of 25 DPM-Solver++ steps to other solvers and step counts.
Prints how many steps are computed in full and the median PSNR in dB to the converged solution, and
likewise of a policy tuned for these very steps at the cost that the shipped one has.
"""

import argparse

from shipped import Shipped, options_of, track

import frdiff
from frdiff.models import shipped_captions, shipped_policies
from frdiff.sampling import set_scheduler
from frdiff.setting import Setting

POLICY, SEED = "dpm++-25-speedup-2", 600_000
# Solver, None for the policy's own, and steps, as a share of what it was tuned for.
RUNS = [(None, 1.0), (None, 0.75), (None, 1.25), ("dpm++", 1.0), ("unipc", 1.0)]
VARY = ("keyframes", "reuse", "targets", "jumps", "weights")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["emoji-dit", "emoji"])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--evaluations", type=int, default=16)
    options = options_of(parser)
    lines = [f"{'':10} {'solver':11} steps  in full, dB resampled  in full, dB tuned there"]
    for model in options.models:
        shipped = Shipped(model, options.pictures, SEED)
        policy = shipped_policies(model)[POLICY]
        own = shipped.pipe.scheduler
        for other, share in track(RUNS, model):
            steps = round(share * policy.origin.num_inference_steps)
            solver = other or policy.origin.solver or "dpm++"
            shipped.pipe.scheduler = own
            set_scheduler(shipped.pipe, solver)
            resampled = policy.resample(shipped.pipe.scheduler, steps)
            tuned = frdiff.tune(
                shipped.pipe,
                shipped_captions(model),
                num_steps=steps,
                budget=policy.origin.figures["cost"] / steps,
                vary=VARY,
                guidance=shipped.guidance,
                inputs=shipped.inputs,
                evaluations=options.evaluations,
            )
            row = f"{model:10} {solver:11} {steps:5}"
            for used in (resampled, tuned):
                decibels = shipped.decibels(Setting(steps, used))
                row += f"{len(used.plan(steps).keyframes):9} {decibels:8.1f}"
            lines.append(row)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
