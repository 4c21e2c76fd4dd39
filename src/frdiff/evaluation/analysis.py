"""Why reuse works on a model: features over time, errors by frequency, and the price of a target.

After the analysis of FRDiff (arXiv 2312.03517, section 3): features of adjacent steps are alike,
feature reuse keeps high frequencies and reduced NFE low ones.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from frdiff.adapters import Features, Target, find_targets, watched
from frdiff.evaluation.methods import Method, jumps, paper, solver_label
from frdiff.evaluation.runner import OnEvent, choose_prompts
from frdiff.evaluation.suites import suite_of
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.network.calls import first_input
from frdiff.network.denoisers import find_denoisers
from frdiff.policy import UniformPolicy
from frdiff.run.applying import apply
from frdiff.sampling import sample

__all__ = [
    "Analysis",
    "Similarity",
    "Spectra",
    "TargetPrice",
    "analyze",
    "guidance_for",
    "inputs_for",
    "prompts_for",
    "radial_power",
    "similarity",
]

SPECTRUM_INTERVAL = 3
PRICE_INTERVAL = 3


@dataclass(frozen=True)
class Similarity:
    """How alike a target's features are at every two steps.

    Attributes:
        target: its name.
        cosine: (steps, steps), mean over pictures of the cosine between features.
        l1: (steps, steps), mean over pictures of |row - column|_1 / |column|_1.
    """

    target: str
    cosine: np.ndarray
    l1: np.ndarray


@dataclass(frozen=True)
class Spectra:
    """Errors of what enters each step, by radial frequency, with the same keyframes.

    Attributes:
        reuse: (steps - 1, frequencies), error power of feature reuse / power of the full run.
        jumps: likewise of reduced NFE: the score of the last keyframe in between.
        solver: of the run, as the page names it.
    """

    reuse: np.ndarray
    jumps: np.ndarray
    solver: str

    def advantage(self) -> np.ndarray:
        """(steps, frequencies), dB by which the error of reuse is below that of jumps."""
        tiny = np.finfo(float).tiny
        return 10 * np.log10(np.maximum(self.jumps, tiny) / np.maximum(self.reuse, tiny))


@dataclass(frozen=True)
class TargetPrice:
    """What the reuse of one target alone saves and costs.

    Attributes:
        target: its name.
        saved: share of the run's MACs, in [0, 1].
        error: mean squared difference of the pictures to the full run's, values in [0, 1].
    """

    target: str
    saved: float
    error: float


@dataclass(frozen=True)
class Analysis:
    """All three, of one model."""

    similarities: list[Similarity]
    spectra: Spectra
    prices: list[TargetPrice]

    @property
    def findings(self) -> list[str]:
        """A sentence for the similarities, one for the spectra, one for the prices."""
        return [_similarity_found(self), _spectra_found(self), _prices_found(self)]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "similarities": [
                {"target": row.target, "cosine": row.cosine.tolist(), "l1": row.l1.tolist()}
                for row in self.similarities
            ],
            "spectra": {"reuse": self.spectra.reuse.tolist(), "jumps": self.spectra.jumps.tolist()},
            "prices": [vars(price) for price in self.prices],
            "findings": self.findings,
        }


def prompts_for(model: str, prompts: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """`count` prompts: those given, over and over, or what a shipped model has learnt.

    Raises:
        ValueError: none given, and `model` does not ship with prompts.
    """
    try:
        pool = list(prompts) or shipped_captions(model)
    except ValueError as error:
        raise ValueError(f"{model} ships no prompts; give one or more after it") from error
    return choose_prompts(pool, count, seed)


def guidance_for(model: str, guidance: float | None) -> float | None:
    """The guidance scale given, or the one at which a shipped model looks best."""
    return GUIDANCE.get(model) if guidance is None else guidance


def inputs_for(model: str) -> dict[str, Any]:
    """What else a shipped model is called with."""
    return INPUTS.get(model, {})


def analyze(
    pipe: DiffusionPipeline,
    prompts: Sequence[str],
    *,
    steps: int = 25,
    seed: int = 0,
    guidance: float | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    on_event: OnEvent = lambda line, done, total: None,
) -> Analysis:
    """The analysis of one pipeline; features of all steps are held in memory meanwhile.

    Args:
        prompts: one picture each, drawn in one batch.
        steps: of the pipeline's own scheduler, for similarities and prices; the spectra take 50
            steps of DDIM, as the paper does, or the full run of flow matching.
        inputs: further arguments of the pipeline.

    Raises:
        ValueError: the denoiser has no adapter, or the pipeline has two denoisers.
    """
    denoisers = find_denoisers(pipe)
    if len(denoisers) != 1:
        raise ValueError(f"one denoiser can be analysed at a time, got {', '.join(denoisers)}")
    (denoiser,) = denoisers.values()
    names = [target.name for target in find_targets(denoiser, "residual")]
    total = 4 + len(names)

    def draw(source: Any = pipe, steps: int = steps) -> np.ndarray:
        return sample(source, prompts, steps=steps, seed=seed, guidance=guidance, inputs=inputs)

    on_event("features of every step", 0, total)
    features, full = _features(denoiser, draw)
    similarities = [similarity(name, rows) for name, rows in features.items()]
    del features

    def inputs_of(method: Method) -> list[Tensor]:
        with method.attached(pipe) as (source, _):
            return _inputs(denoiser, lambda: draw(source, method.steps))

    noisy = []
    on = suite_of(pipe).paper_on
    for number, method in enumerate(_spectrum_methods(on)):
        on_event(f"spectrum: {method.family}", 1 + number, total)
        noisy.append(inputs_of(method))
    truth, reuse, jumped = noisy
    spectra = Spectra(
        _relative_power(truth, reuse), _relative_power(truth, jumped), solver_label(on.scheduler)
    )
    prices = []
    for number, name in enumerate(names):
        on_event(f"price of {name}", 4 + number, total)
        policy = UniformPolicy(PRICE_INTERVAL, mixing=False, forecast=1, targets=[name])
        with apply(pipe, policy) as run:
            error = float(np.mean((draw() - full) ** 2))
            prices.append(TargetPrice(name, 1 - (run.stats.macs_ratio or 1.0), error))
    return Analysis(similarities, spectra, prices)


def _spectrum_methods(full: Method) -> list[Method]:
    """A run in full, with features reused, and with jumps alone; the same keyframes."""
    return [
        full,
        paper(full.scheduler, full.steps, SPECTRUM_INTERVAL, mixing=False),
        jumps(full.scheduler, full.steps, SPECTRUM_INTERVAL),
    ]


def _features(
    denoiser: nn.Module, draw: Callable[[], np.ndarray]
) -> tuple[dict[str, list[Tensor]], np.ndarray]:
    """The feature of every target at every step of a full run, and what it drew."""
    targets = find_targets(denoiser, "residual")
    found: dict[str, list[Tensor]] = {target.name: [] for target in targets}

    def keep(target: Target, features: Features) -> None:
        streams = [feature.float().flatten(1) for feature in features]
        found[target.name].append(torch.cat(streams, dim=1))

    with watched(targets, keep):
        images = draw()
    return found, images


def _inputs(denoiser: nn.Module, draw: Callable[[], np.ndarray]) -> list[Tensor]:
    """The noisy input of every denoiser call, jumps too."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        found.append(first_input(args, kwargs).detach().float().cpu())

    handle = denoiser.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        draw()
    finally:
        handle.remove()
    return found


def similarity(target: str, features: Sequence[Tensor]) -> Similarity:
    """The similarities of one target's features, one tensor (batch, ...) per step."""
    rows = torch.stack([feature.flatten(1) for feature in features], dim=1)
    unit = nn.functional.normalize(rows, dim=-1)
    cosine = (unit @ unit.transpose(1, 2)).mean(0)
    sizes = rows.abs().sum(-1)
    # One row at a time: all differences at once would take steps times the memory.
    l1 = torch.stack(
        [
            ((rows - rows[:, i : i + 1]).abs().sum(-1) / sizes.clamp(min=1e-12)).mean(0)
            for i in range(rows.shape[1])
        ]
    )
    return Similarity(target, cosine.numpy(force=True), l1.numpy(force=True))


def radial_power(fields: Tensor) -> np.ndarray:
    """Mean power of fields (..., H, W) at radial frequencies 0, 1, ... cycles per side.

    Frequencies beyond the Nyquist of the shorter side, in the corners of the plane, count as it.
    """
    height, width = fields.shape[-2:]
    power = torch.fft.fft2(fields.double()).abs().square() / (height * width)
    power = power.reshape(-1, height, width).mean(0)
    nyquist = min(height, width) // 2
    rows = torch.fft.fftfreq(height, 1 / height)[:, None]
    columns = torch.fft.fftfreq(width, 1 / width)[None]
    radius = (rows**2 + columns**2).sqrt().round().long().clamp(max=nyquist)
    total = torch.zeros(nyquist + 1, dtype=power.dtype).scatter_add_(
        0, radius.flatten(), power.flatten()
    )
    return (total / torch.bincount(radius.flatten(), minlength=nyquist + 1)).numpy()


def _relative_power(truth: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
    # All begin from the same noise, so the first input has no error.
    return np.stack(
        [radial_power(b - a) / radial_power(a) for a, b in zip(truth[1:], other[1:], strict=True)]
    )


def _similarity_found(found: Analysis) -> str:
    steps = len(found.similarities[0].cosine)
    far = min(10, steps - 1)

    def at(distance: int) -> tuple[float, float]:
        cosines = [np.diagonal(row.cosine, distance).mean() for row in found.similarities]
        l1 = [np.diagonal(row.l1, distance).mean() for row in found.similarities]
        return statistics.median(cosines), statistics.median(l1)

    near, apart = at(1), at(far)
    return (
        f"features of adjacent steps: cosine {near[0]:.3f}, relative L1 {near[1]:.2f}; "
        f"{far} steps apart {apart[0]:.3f} and {apart[1]:.2f} (medians of targets, {steps} steps)"
    )


def _spectra_found(found: Analysis) -> str:
    gain = found.spectra.advantage()
    third = max(1, gain.shape[1] // 3)
    late = gain[-1]
    low, high = float(late[:third].mean()), float(late[-third:].mean())
    return (
        f"error of reuse below that of jumps at the last step (interval {SPECTRUM_INTERVAL}, "
        f"{len(gain) + 1} {found.spectra.solver} steps): {low:+.1f} dB at low frequencies, "
        f"{high:+.1f} dB at high ones; over the run {float(gain[:, :third].mean()):+.1f} and "
        f"{float(gain[:, -third:].mean()):+.1f} dB"
    )


def _prices_found(found: Analysis) -> str:
    priced = [price for price in found.prices if price.saved > 0]
    if not priced:
        return "no target saves anything alone"
    cheap = min(priced, key=lambda price: price.error / price.saved)
    dear = max(priced, key=lambda price: price.error / price.saved)
    ratio = (dear.error / dear.saved) / max(cheap.error / cheap.saved, 1e-300)
    return (
        f"error per MAC saved: least at {cheap.target}, most at {dear.target}, {ratio:.0f} times "
        f"as much (each reused alone, interval {PRICE_INTERVAL}, linear)"
    )
