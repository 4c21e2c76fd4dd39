"""The Auto-FR of the paper against evenly spaced keyframes and against the default search.

    python bench/gates.py [--model emoji-dit] [--speedup 2 3]

On 50 DDIM steps, features of whole residuals copied (the paper's own targets leave too much to pay
for half the cost on a DiT), but for the search, which is free to choose. Prints the median PSNR in
dB to the converged solution and to the full run, which is what gates are learnt on, over noises
that nothing was tuned on, and what the choice of a policy cost, in full runs of the pictures tuned
on.
"""

import argparse
import statistics
import time

from shipped import Shipped, options_of, track, tuned_setting

import frdiff
from frdiff.compare import psnr
from frdiff.models import shipped_captions
from frdiff.policy.jumps import spaced
from frdiff.sampling import set_scheduler
from frdiff.search.gates import evenly
from frdiff.setting import Setting

SOLVER, STEPS, SEED = "ddim", 50, 500_000
METHODS = ("gates", "even", "even to the last", "search")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji-dit")
    parser.add_argument("--speedup", type=float, nargs="+", default=[2.0, 3.0])
    parser.add_argument("--pictures", type=int, default=32)
    options = options_of(parser)
    shipped = Shipped(options.model, options.pictures, SEED)
    full = shipped.draw(Setting(STEPS, None, SOLVER))
    print(f"full run: {STEPS} DDIM steps, {statistics.median(psnr(shipped.truth, full)):.1f} dB")
    set_scheduler(shipped.pipe, SOLVER)
    for speedup in options.speedup:
        computed = 0
        for method in track(METHODS, f"{speedup:g}x"):
            began = time.perf_counter()
            if method.startswith("even"):
                space = evenly if method == "even" else spaced
                places = space(STEPS, computed)
                policy = frdiff.KeyframePolicy(STEPS, places, forecast=0, targets="all")
                setting, runs = Setting(STEPS, policy, SOLVER), 0.0
            else:
                policy = frdiff.tune(
                    shipped.pipe,
                    shipped_captions(options.model),
                    num_steps=STEPS,
                    speedup=speedup,
                    method=method,
                    guidance=shipped.guidance,
                    inputs=shipped.inputs,
                )
                setting = tuned_setting(policy, SOLVER)
                runs = policy.origin.figures["search_runs"]
            seconds = time.perf_counter() - began
            computed = len(policy.plan(setting.steps).keyframes)
            drawn = shipped.draw(setting)
            decibels, likeness = (
                statistics.median(psnr(to, drawn)) for to in (shipped.truth, full)
            )
            print(
                f"{speedup:g}x {method:16} {setting.steps:3} steps, {computed:2} in full: "
                f"{decibels:.1f} dB, {likeness:.1f} dB to the full run, "
                f"chosen by {runs:.0f} full runs in {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
