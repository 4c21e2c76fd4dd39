"""The pictures of the analysis: similarities, spectra, prices."""

import math
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from frdiff.evaluation.analysis import Analysis, Similarity, Spectra, TargetPrice

__all__ = ["analysis_paths", "draw_analysis"]

COLUMNS = 6
PARTS = ("similarity", "spectrum", "price")


def analysis_paths(folder: Path, model: str) -> list[Path]:
    """Where the pictures of a model's analysis lie in `folder`, one per finding."""
    return [folder / f"analysis-{model}-{part}.png" for part in PARTS]


def draw_analysis(found: Analysis, folder: Path, model: str) -> list[Path]:
    """Write `analysis-<model>-*.png` into `folder`; returns one path per finding."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = (
        similarity_figure(found.similarities),
        spectrum_figure(found.spectra),
        price_figure(found.prices),
    )
    paths = analysis_paths(folder, model)
    for path, figure, finding in zip(paths, figures, found.findings, strict=True):
        width = int(figure.get_figwidth() * 14)  # characters of the title that fit
        figure.suptitle(textwrap.fill(finding, width), fontsize=10)
        figure.savefig(path, dpi=100)
    return paths


def similarity_figure(similarities: list[Similarity]) -> Figure:
    """Two heat maps per target, step against step: cosine above, relative L1 below."""
    rows = math.ceil(len(similarities) / COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS + 1, 4.1 * rows + 0.6), layout="constrained")
    grid = figure.subplots(2 * rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, row in enumerate(similarities):
        across, down = number % COLUMNS, 2 * (number // COLUMNS)
        above, below = grid[down][across], grid[down + 1][across]
        cosine = above.imshow(row.cosine, vmin=0, vmax=1, cmap="viridis")
        l1 = below.imshow(row.l1, vmin=0, vmax=1, cmap="magma_r")
        above.set_title(_short(row.target), fontsize=7)
        for axes in (above, below):
            axes.set_axis_on()
            axes.tick_params(labelsize=6)
    figure.colorbar(cosine, ax=grid, location="right", shrink=0.4, label="cosine")
    figure.colorbar(
        l1, ax=grid, location="right", shrink=0.4, label="relative L1 (1 or more: dark)"
    )
    return figure


def spectrum_figure(spectra: Spectra) -> Figure:
    """Error by step and frequency of reuse and of jumps, their difference, and the last step."""
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    left, middle, right, last = figure.subplots(1, 4)
    panels = {
        "feature reuse": (left, spectra.reuse),
        "jumps (reduced NFE)": (middle, spectra.jumps),
    }
    levels = [10 * np.log10(np.maximum(values, 1e-12)) for _, values in panels.values()]
    low, high = min(level.min() for level in levels), max(level.max() for level in levels)
    steps = len(spectra.reuse)
    extent = (-0.5, spectra.reuse.shape[1] - 0.5, steps + 0.5, 0.5)
    for (name, (axes, _)), level in zip(panels.items(), levels, strict=True):
        image = axes.imshow(level, aspect="auto", vmin=low, vmax=high, extent=extent)
        axes.set(title=name, xlabel="cycles per side", ylabel="step")
    figure.colorbar(image, ax=[left, middle], label="error / power, dB")
    gain = spectra.advantage()
    limit = float(np.abs(gain).max()) or 1.0
    shown = right.imshow(gain, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, extent=extent)
    right.set(title="reuse closer by", xlabel="cycles per side", ylabel="step")
    figure.colorbar(shown, ax=right, label="dB")
    last.plot(levels[0][-1], "o-", color="#0072B2", label="feature reuse")
    last.plot(levels[1][-1], "s-", color="#D55E00", label="jumps")
    last.set(title="last step", xlabel="cycles per side", ylabel="error / power, dB")
    last.grid(alpha=0.3)
    last.legend(fontsize=8, frameon=False)
    return figure


def price_figure(prices: list[TargetPrice]) -> Figure:
    """Bars per target, in module order: share of the MACs saved, and error per share saved."""
    figure = Figure(figsize=(10, 0.24 * len(prices) + 1.6), layout="constrained")
    saved, cost = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(prices))
    saved.barh(places, [100 * price.saved for price in prices], color="#0072B2")
    saved.set(xlabel="MACs saved, % of the run")
    saved.set_yticks(places, [_short(price.target) for price in prices], fontsize=7)
    saved.invert_yaxis()
    values = [price.error / price.saved / 100 if price.saved > 0 else np.nan for price in prices]
    cost.barh(places, values, color="#D55E00")
    cost.set(xlabel="mean squared error to the full run, per % of MACs saved", xscale="log")
    for axes in (saved, cost):
        axes.grid(axis="x", alpha=0.3)
    return figure


def _short(name: str) -> str:
    """A module name that fits a title."""
    words = {"down_blocks": "down", "up_blocks": "up", "mid_block": "mid", "attentions": "attn"}
    words |= {"resnets": "res", "transformer_blocks": "block", "downsamplers": "downsampler"}
    words |= {"upsamplers": "upsampler"}
    return ".".join(words.get(part, part) for part in name.split("."))
