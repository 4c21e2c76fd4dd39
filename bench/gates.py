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

import torch
from rich.progress import track

import frdiff
from frdiff.bench.runner import choose_prompts
from frdiff.compare import psnr
from frdiff.models import GUIDANCE, shipped_captions
from frdiff.sampling import CONVERGED, CONVERGED_STEPS, sample, set_scheduler
from frdiff.search.shapes import spaced

STEPS, SEED = 50, 500_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji-dit")
    parser.add_argument("--speedup", type=float, nargs="+", default=[2.0, 3.0])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = frdiff.load_model(options.model)
    captions, guidance = shipped_captions(options.model), GUIDANCE[options.model]
    prompts = choose_prompts(captions, options.pictures, 1)

    def draw(steps: int) -> object:
        return sample(pipe, prompts, steps=steps, seed=SEED, guidance=guidance)

    set_scheduler(pipe, CONVERGED)
    truth = draw(CONVERGED_STEPS)
    set_scheduler(pipe, "ddim")
    full = draw(STEPS)
    print(f"full run: {STEPS} steps of DDIM, {statistics.median(psnr(truth, full)):.1f} dB")
    for speedup in options.speedup:
        computed = 0
        for method in track(("gates", "even", "even to the last", "search"), f"{speedup:g}x"):
            began = time.perf_counter()
            if method.startswith("even"):
                places = [i * STEPS // computed for i in range(computed)]
                if method != "even":
                    places = list(spaced(STEPS, computed))
                policy = frdiff.KeyframePolicy(STEPS, places, forecast=0, targets="all")
                steps, runs = STEPS, 0.0
            else:
                policy = frdiff.tune(
                    pipe,
                    captions,
                    num_steps=STEPS,
                    speedup=speedup,
                    method=method,
                    guidance=guidance,
                )
                steps = policy.origin.num_inference_steps
                runs = policy.origin.figures["search_runs"]
            seconds = time.perf_counter() - began
            computed = len(policy.plan(steps).keyframes)
            with frdiff.apply(pipe, policy):
                drawn = draw(steps)
            decibels, likeness = (statistics.median(psnr(to, drawn)) for to in (truth, full))
            print(
                f"{speedup:g}x {method:16} {steps:3} steps, {computed:2} in full: "
                f"{decibels:.1f} dB, {likeness:.1f} dB to the full run, "
                f"chosen by {runs:.0f} full runs in {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
