"""What a step of halves is worth where guidance is strong and where it is weak, beside fewer steps.

    python bench/halves.py [--steps 24] [--pictures 8] [--threads 1] [--json]

Prints, per shipped model and guidance, the median signal-to-noise ratio in dB of final latents to
the run in full: steps of halves between keyframes, jumps and fewer steps, each with the share of
the MACs that it takes.
"""

import argparse
import json
import statistics
import warnings

import numpy as np
import torch
from rich.progress import track

import frdiff
from frdiff.models import INPUTS, shipped_captions
from frdiff.policy import HalfPolicy, JumpPolicy, Policy
from frdiff.search.measure import decibels
from frdiff.search.subject import Batch, PipelineSubject

PLACES = (
    ("emoji", 2.0),
    ("emoji", 5.0),
    ("emoji-dit", 1.5),
    ("emoji-dit", 4.0),
    ("emoji-flow", 4.0),
)
FIRST = {"emoji-dit"}  # whose calls have the condition in the first half


def policies(half: str) -> dict[str, Policy]:
    """By name."""
    return {
        "halves, interval 2": HalfPolicy(2, half),
        "halves, interval 2, extrapolated": HalfPolicy(2, half, forecast=1),
        "halves, interval 3": HalfPolicy(3, half),
        "jumps, interval 1.5": JumpPolicy(1.5),
    }


def rows(model: str, guidance: float, steps: int, pictures: int) -> dict[str, tuple[float, float]]:
    """Share of the MACs and dB, by name."""
    pipe = frdiff.load_model(model)
    pipe.set_progress_bar_config(disable=True)
    subject = PipelineSubject(pipe, guidance, latents=True, inputs=INPUTS.get(model, {}))
    captions = shipped_captions(model) or [""]
    batch = Batch(0, tuple(captions[7 * i % len(captions)] for i in range(pictures)))
    full = subject.run(steps, batch)

    def distance(samples: np.ndarray) -> float:
        return statistics.median(decibels(full, samples, None))

    found = {}
    for name, policy in policies("first" if model in FIRST else "second").items():
        with frdiff.apply(pipe, policy) as run:
            made = subject.run(steps, batch)
            found[name] = run.stats.macs_ratio or 1.0, distance(made)
    for fewer in (3 * steps // 4, 2 * steps // 3):
        found[f"{fewer / steps:.2f} of the steps"] = (
            fewer / steps,
            distance(subject.run(fewer, batch)),
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="rows on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    found = {
        f"{model}, {guidance:g}": rows(model, guidance, options.steps, options.pictures)
        for model, guidance in track(PLACES, "models")
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"| | MACs | {' | '.join(found)} |\n| --- | --- |{' --- |' * len(found)}")
    for name, (share, _) in next(iter(found.values())).items():
        cells = [f"{place[name][1]:.1f}" for place in found.values()]
        print(f"| {name} | {share:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
