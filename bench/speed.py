"""Do saved MACs turn into time? Shipped models, batch 4, in turns with the untouched pipeline.

    python bench/speed.py [MODEL ...] [--rounds 10] [--threads 2] [--json]

Prints, per policy, the measured speed-up of the sampling loop (median over rounds of the ratio
within a round), the one implied by MACs, their quotient, and what a step between keyframes takes,
as a share of a full one; then what a policy that computes every step costs. The loop is timed from
the first denoiser call to the pipeline's return; decoders that would run in it are left out.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import DiffusionPipeline
from diffusers.models.autoencoders.vae import DecoderOutput
from rich.progress import track

import frdiff
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.policy import JumpPolicy, Policy, UniformPolicy
from frdiff.run.applying import apply
from frdiff.search.subject import Batch, PipelineSubject

MODELS = ("emoji", "emoji-dit", "emoji-flow", "digits")
STEPS, BATCH = 24, 4
LINEAR = {"mixing": False, "forecast": 1}


def policies() -> dict[str, Policy]:
    """By name."""
    named: dict[str, Policy] = {}
    for n in (2, 3):
        for targets in ("all", "residual"):
            named[f"{targets}, linear, interval {n}"] = UniformPolicy(n, targets=targets, **LINEAR)
        named[f"jumps, linear, interval {n}"] = JumpPolicy(n, forecast=1)
    named["every step computed"] = UniformPolicy(1)
    return named


@contextmanager
def undecoded(pipe: DiffusionPipeline) -> Iterator[None]:
    """While it lasts, latents are decoded to nothing at once: some pipelines always decode."""
    vae = getattr(pipe, "vae", None)
    if vae is None:
        yield
        return
    vae.decode = lambda latents, **options: DecoderOutput(latents.new_zeros(len(latents), 3, 8, 8))
    try:
        yield
    finally:
        del vae.decode


def measured(model: str, rounds: int) -> list[dict[str, float | str | None]]:
    """A row per policy."""
    pipe = frdiff.load_model(model)
    pipe.set_progress_bar_config(disable=True)
    subject = PipelineSubject(pipe, GUIDANCE[model], latents=True, inputs=INPUTS.get(model, {}))
    captions = (shipped_captions(model) or [""]) * BATCH
    batch = Batch(0, tuple(captions[:BATCH]))

    (denoiser,) = subject.denoisers
    began: list[float] = []
    denoiser.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))

    def seconds() -> float:
        began.clear()
        with undecoded(pipe):
            subject.run(STEPS, batch)
        return time.perf_counter() - began[0]

    named = policies()
    ratios: dict[str, list[float]] = {name: [] for name in named}
    implied, keyframes = {}, {}
    seconds()
    for turn in track(range(rounds), model):
        for name, policy in named.items():
            # Each goes first half of the time: whoever follows finds another machine.
            full = seconds() if turn % 2 else None
            with apply(pipe, policy) as run:
                if not turn:
                    seconds()  # the first looks at the model
                ours = seconds()
                implied[name] = 1 / (run.stats.macs_ratio or 1)
                keyframes[name] = run.stats.keyframes
            ratios[name].append((full or seconds()) / ours)
    rows: list[dict[str, float | str | None]] = []
    for name in named:
        speed = statistics.median(ratios[name])
        others = STEPS - keyframes[name]
        price = (STEPS / speed - keyframes[name]) / others if others else None
        rows.append(
            {
                "model": model,
                "policy": name,
                "measured": speed,
                "macs": implied[name],
                "quotient": speed / implied[name],
                "step": price,
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="rows on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rows = [row for model in options.models for row in measured(model, options.rounds)]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"{STEPS} steps, batch {BATCH}, float32, CPU, {options.threads} threads, "
        f"torch {torch.__version__}, {options.rounds} rounds"
    )
    print(f"{'model':11} {'policy':30} measured  by MACs  quotient  a step")
    for row in rows:
        step = "" if row["step"] is None else f"{row['step']:8.3f}"
        print(
            f"{row['model']:11} {row['policy']:30} {row['measured']:7.3f}x {row['macs']:7.3f}x "
            f"{row['quotient']:8.3f} {step}"
        )


if __name__ == "__main__":
    main()
