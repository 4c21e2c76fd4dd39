"""The page: one self-contained HTML file from a folder of results, and its figures as PNGs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from frdiff.bench.claims import Claim, judge_claims
from frdiff.bench.figures import AXES, METRICS, distribution_figure, pareto_figure, strip
from frdiff.bench.results import (
    Absence,
    Distribution,
    Fidelity,
    Results,
    read_results,
    result_path,
)
from frdiff.bench.summary import SPEEDUPS, Row, Standing, best_at, rows_of, standings

__all__ = ["write_report"]

FIGURES = (("time", "psnr"), ("macs", "psnr"), ("time", "psnr_full"), ("time", "ssim"))


@dataclass(frozen=True)
class _Picture:
    """A picture of the page.

    Attributes:
        caption: what it shows.
        source: as a data URL.
    """

    caption: str
    source: str


@dataclass(frozen=True)
class _Section:
    """One model on the page."""

    model: str
    about: str
    setup: dict[str, Any]
    rows: list[Row]
    standings: list[Standing]
    claims: list[Claim]
    distributions: list[tuple[Distribution, float]]
    distribution_figures: list[_Picture]
    absences: list[Absence]
    figures: list[_Picture]
    strips: list[_Picture]
    analysis: list[_Picture]


def write_report(folder: Path, output: Path) -> Results:
    """Write `index.html` and PNGs into `output`; returns the results that it shows.

    Args:
        folder: of the result files, as `frdiff bench` writes them.
        output: made if it is not there.

    Raises:
        ValueError: `folder` holds no result that can be read.
    """
    results = read_results(folder.glob("*.json"))
    if not results.fidelities:
        told = "; ".join(results.errors[:3])
        raise ValueError(f"no results in {folder}" + (f": {told}" if told else ""))
    output.mkdir(parents=True, exist_ok=True)
    models = sorted({result.model for result in results.fidelities})
    sections = [_section(model, results, folder, output) for model in models]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("frdiff.bench", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        sections=sections, errors=results.errors, speedups=SPEEDUPS
    )
    (output / "index.html").write_text(page, encoding="utf-8")
    return results


def _section(model: str, results: Results, folder: Path, output: Path) -> _Section:
    fidelities = [result for result in results.fidelities if result.model == model]
    distributions = [result for result in results.distributions if result.model == model]
    measured = {result.family for result in fidelities}
    absences = [
        absence
        for absence in results.absences
        if absence.model == model and absence.family not in measured
    ]
    rows = rows_of(fidelities)
    speedups = {(row.result.family, row.result.setting): row.speedup for row in rows}
    paired = [
        (row, speedups[row.family, row.setting])
        for row in sorted(distributions, key=lambda row: (row.point, row.family))
        if (row.family, row.setting) in speedups
    ]
    about = fidelities[0].about
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return _Section(
        model=model,
        about=f"{about.hardware}; {about.dtype}; {versions}",
        setup=fidelities[0].setup,
        rows=rows,
        standings=standings(rows),
        claims=judge_claims(fidelities, distributions),
        distributions=paired,
        distribution_figures=_distribution_figures(model, paired, output),
        absences=absences,
        figures=_figures(model, rows, output),
        strips=_strips(rows, folder),
        analysis=[
            _Picture(path.stem.removeprefix(f"analysis-{model}-").replace("-", " "), _url(path))
            for path in sorted(folder.glob(f"analysis-{model}-*.png"))
        ],
    )


def _figures(model: str, rows: Sequence[Row], output: Path) -> list[_Picture]:
    pictures = []
    for axis, metric in FIGURES:
        path = output / f"{model}-{metric}-{axis}.png"
        pareto_figure(rows, axis, metric).savefig(path, dpi=110)
        caption = f"{METRICS[metric][0]} over {AXES[axis][0]}"
        pictures.append(_Picture(caption, _url(path)))
    return pictures


def _distribution_figures(
    model: str, pairs: Sequence[tuple[Distribution, float]], output: Path
) -> list[_Picture]:
    if not pairs:
        return []
    path = output / f"{model}-frechet-time.png"
    distribution_figure(pairs).savefig(path, dpi=110)
    return [_Picture("Fréchet distances over speed-up", _url(path))]


def _strips(rows: Sequence[Row], folder: Path) -> list[_Picture]:
    """For each speed-up, the full run and the best setting of every family that reaches it."""
    full = next((row for row in rows if row.result.setting == "25 steps"), rows[0])
    pictures = []
    for speedup in SPEEDUPS:
        chosen = [full]
        for family in dict.fromkeys(row.result.family for row in rows):
            best = best_at([row for row in rows if row.result.family == family], speedup)
            if best is not None and best.speedup < 1.6 * speedup:
                chosen.append(best)
        captioned = [(_caption(row), _strip_path(row.result, folder)) for row in chosen]
        there = [(caption, path) for caption, path in captioned if path.is_file()]
        if len(there) > 1:
            with Image.open(there[0][1]) as first:
                scale = max(1, 64 // first.height)
            buffer = io.BytesIO()
            strip(there, scale).save(buffer, "PNG", optimize=True)
            pictures.append(_Picture(f"at {speedup:g}x", _encoded(buffer.getvalue())))
    return pictures


def _caption(row: Row) -> str:
    return f"{row.result.family}\n{row.result.setting}\n{row.speedup:.2f}x, {row.psnr:.1f} dB"


def _strip_path(result: Fidelity, folder: Path) -> Path:
    definition = {"method": result.method, "setup": result.setup}
    return result_path(folder, result.model, "fidelity", definition).with_suffix(".png")


def _url(path: Path) -> str:
    return _encoded(path.read_bytes())


def _encoded(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
