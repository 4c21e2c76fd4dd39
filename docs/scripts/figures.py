"""Draws the pictures of docs/how.md from the shipped model `emoji`, in minutes on a CPU.

    python docs/scripts/figures.py

It writes `docs/how-*.png` and prints what the page quotes.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from matplotlib.figure import Figure

import frdiff
from frdiff.evaluation.analysis import Analysis, analyze, prompts_for
from frdiff.schedulers.levels import noise_coordinates
from frdiff.search.weights.follow import Path as Trail

MODEL, POLICY, GUIDANCE, PICTURES = "emoji", "dpm++-25-speedup-3", 5.0, 8
CONVERGED, FEW = 150, 8
FOLDER = Path(__file__).parents[1]


def main() -> None:
    """Draw all of them."""
    pipe = frdiff.load_model(MODEL)
    prompts = prompts_for(MODEL, (), PICTURES, 0)
    save(steering(pipe, prompts), "steering")
    found = analyze(pipe, prompts, steps=25, guidance=2.0)
    print("\n".join(found.findings))
    save(similarity(found), "similarity")
    save(spectra(found), "spectra")


def save(figure: Figure, name: str) -> None:
    """Write one picture."""
    path = FOLDER / f"how-{name}.png"
    figure.savefig(path, dpi=100)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def similarity(found: Analysis) -> Figure:
    """The cosine of features, step against step, of four targets from all over the network."""
    rows = found.similarities
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, 4).round().astype(int)]
    figure = Figure(figsize=(9, 2.7), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    for axes, row in zip(panels, chosen, strict=True):
        image = axes.imshow(row.cosine, vmin=0, vmax=1, cmap="viridis")
        axes.set_title(row.target.replace("_blocks", "").replace("_block", ""), fontsize=8)
        axes.set_xlabel("step")
    panels[0].set_ylabel("step")
    figure.colorbar(image, ax=panels, label="cosine", shrink=0.8)
    return figure


def spectra(found: Analysis) -> Figure:
    """How much closer reuse is than jumps, by step and frequency, and both at the last step."""
    known = found.spectra
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    gain = known.advantage()
    limit = float(np.abs(gain).max())
    extent = (-0.5, gain.shape[1] - 0.5, len(gain) + 0.5, 0.5)
    image = left.imshow(gain, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, extent=extent)
    left.set(title="error of reuse below that of jumps", ylabel="step")
    figure.colorbar(image, ax=left, label="dB")
    for name, values, form in (("reuse", known.reuse, "o-"), ("jumps", known.jumps, "s--")):
        right.plot(10 * np.log10(np.maximum(values[-1], 1e-12)), form, label=name)
    right.set(title="error at the last step", ylabel="dB of the signal")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlabel("cycles per side")
    return figure


def steering(pipe: DiffusionPipeline, prompts: Sequence[str]) -> Figure:
    """How far runs of eight calls are from the converged solution, at the end of every step."""
    truth = _trail(pipe, prompts, CONVERGED, "dpm++karras")
    policy = frdiff.load_policy(frdiff.models.shipped_folder(MODEL) / "policies" / f"{POLICY}.json")
    runs = {
        f"{FEW} steps of DPM-Solver++": _trail(pipe, prompts, FEW, "dpm++"),
        f"{FEW} steps, Karras' levels": _trail(pipe, prompts, FEW, "dpm++karras"),
        f"tuned, {FEW} calls": _trail(
            pipe, prompts, policy.origin.num_inference_steps, policy.origin.solver, policy
        ),
    }
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, trail), form in zip(runs.items(), ("s--", "^-.", "o-"), strict=True):
        decibels = _distances(trail, truth)
        print(f"{name}: {decibels[-1]:.1f} dB at the end")
        axes.plot(np.arange(1, len(decibels) + 1), decibels, form, label=name)
    axes.set(xlabel="step", ylabel="dB to the converged solution")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _trail(
    pipe: DiffusionPipeline,
    prompts: Sequence[str],
    steps: int,
    solver: str,
    policy: frdiff.Policy | None = None,
) -> Trail:
    """Where the samples of a run are at every noise level, in latents."""
    samples: list[np.ndarray] = []
    frdiff.set_scheduler(pipe, solver)
    with nullcontext() if policy is None else frdiff.apply(pipe, policy) as run:
        pipe(
            list(prompts),
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for seed in range(len(prompts))],
            output_type="latent",
            callback_on_step_end=_keeping(samples),
        )
        levels = noise_coordinates(pipe.scheduler) if run is None else run.noise_levels
    # What enters the first step is the same noise in all runs.
    return Trail(np.array(levels), np.stack([samples[0], *samples]))


def _keeping(samples: list[np.ndarray]) -> Callable[..., dict[str, Any]]:
    def keep(
        pipe: DiffusionPipeline, step: int, time: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        samples.append(tensors["latents"].flatten(1).float().numpy(force=True).copy())
        return {}

    return keep


def _distances(trail: Trail, truth: Trail) -> np.ndarray:
    """Median signal-to-noise ratio in dB at the end of every step."""
    inner = trail.levels[1:]
    # The path is known from its second sample on.
    known = Trail(truth.levels[1:], truth.samples[1:])
    passed = known.through(np.minimum(inner, known.levels[0]).tolist())
    if passed is None:
        raise ValueError("the converged solution has not been at all noise levels of the run")
    found = []
    for own, there in zip(trail.samples[1:], passed, strict=True):
        noise = np.square(own - there).sum(1)
        found.append(np.median(10 * np.log10(np.square(there).sum(1) / noise)))
    return np.array(found)


if __name__ == "__main__":
    main()
