"""The page: one self-contained HTML file from a folder of results, and its figures as PNGs."""

import base64
import io
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from frdiff.bench.analysis_figures import analysis_paths
from frdiff.bench.claims import Claim, judge_claims
from frdiff.bench.distributions import distribution_tasks
from frdiff.bench.figures import AXES, METRICS, distribution_figure, pareto_figure, strip
from frdiff.bench.methods import solver_label
from frdiff.bench.results import (
    Absence,
    Conditions,
    Distribution,
    Fidelity,
    Results,
    read_results,
    result_path,
)
from frdiff.bench.standings import standings_markdown
from frdiff.bench.suites import Suite, suite_behind
from frdiff.bench.summary import SPEEDUPS, Row, Standing, best_at, rows_of, standings
from frdiff.models import GUIDANCE

__all__ = ["Report", "write_report"]

NEAR = 1.6


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
    """One model at one guidance on the page."""

    name: str
    anchor: str
    about: str
    setup: Conditions
    suite: Suite
    rows: list[Row]
    groups: list[Standing]
    standings: list[Standing]
    claims: list[Claim]
    distributions: list[tuple[Distribution, float]]
    distribution_figures: list[_Picture]
    absences: list[Absence]
    figures: list[_Picture]
    strips: list[_Picture]
    analysis: list[_Picture]


@dataclass(frozen=True)
class Report:
    """What a page shows, in short.

    Attributes:
        page: the HTML file.
        settings: number of settings shown.
        groups: by model and guidance, how fewer steps, the paper, frdiff and peers stand.
        families: likewise, how each method does.
        errors: a line for everything left out.
    """

    page: Path
    settings: int
    groups: dict[str, list[Standing]]
    families: dict[str, list[Standing]]
    errors: list[str]


def write_report(folder: Path, output: Path) -> Report:
    """Write `index.html`, `standings.md` and PNGs into `output`; returns what they show.

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
    shown = {(result.model, result.setup.guidance) for result in results.fidelities}
    order = sorted(shown, key=lambda pair: (pair[0], pair[1] or 0.0))
    sections = [_section(model, guidance, results, folder, output) for model, guidance in order]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("frdiff.bench", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        sections=sections, errors=results.errors, speedups=SPEEDUPS, label=solver_label
    )
    path = output / "index.html"
    path.write_text(page, encoding="utf-8")
    report = Report(
        path,
        sum(len(section.rows) for section in sections),
        {section.name: section.groups for section in sections},
        {section.name: section.standings for section in sections},
        results.errors,
    )
    (output / "standings.md").write_text(standings_markdown(report.families), encoding="utf-8")
    return report


def _comparable(
    model: str, guidance: float | None, results: Results
) -> tuple[list[Fidelity], list[Distribution]]:
    """A model's results under the conditions that most of them share; the others are named."""
    own = [
        result
        for result in results.fidelities
        if (result.model, result.setup.guidance) == (model, guidance)
    ]
    conditions = Counter(result.setup for result in own).most_common(1)[0][0]
    fidelities = [result for result in own if result.setup == conditions]
    if len(fidelities) < len(own):
        results.errors.append(
            f"{_name(model, guidance)}: {len(own) - len(fidelities)} results under other "
            "conditions (weights, device, seeds, pictures) than most; report them from a folder "
            "of their own"
        )
    tasks = distribution_tasks(fidelities, suite_behind(conditions))
    wanted = {(point, json.dumps(config)) for point, config in tasks}
    found: dict[tuple[str, str], Distribution] = {}
    for row in results.distributions:
        key = row.point, json.dumps(row.method)
        same = (row.model, row.setup.guidance) == (model, guidance)
        same = same and row.setup.weights_hash == conditions.weights_hash
        # Of two at one point the one that was seen through Inception too says more.
        if same and key in wanted and (key not in found or row.inception):
            found[key] = row
    return fidelities, sorted(found.values(), key=lambda row: (row.point, row.family))


def _name(model: str, guidance: float | None) -> str:
    return model if guidance is None else f"{model}, guidance {guidance:g}"


def _section(
    model: str, guidance: float | None, results: Results, folder: Path, output: Path
) -> _Section:
    fidelities, distributions = _comparable(model, guidance, results)
    name = _name(model, guidance)
    # The guidance that a model is shown at everywhere has the plain name.
    anchor = model if guidance == GUIDANCE.get(model) else name.replace(", guidance ", "-")
    measured = {
        (result.family, setting) for result in fidelities for setting in (result.setting, None)
    }
    absences = [
        absence
        for absence in results.absences
        if absence.model == model and (absence.family, absence.setting) not in measured
    ]
    rows = rows_of(fidelities)
    speedups = {(row.result.family, row.result.setting): row.speedup for row in rows}
    paired = [(row, speedups[row.family, row.setting]) for row in distributions]
    about, suite = fidelities[0].about, suite_behind(fidelities[0].setup)
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return _Section(
        name=name,
        anchor=anchor,
        about=f"{about.hardware}; {fidelities[0].setup.dtype}; {versions}",
        setup=fidelities[0].setup,
        suite=suite,
        rows=rows,
        groups=standings(fidelities, lambda row: row.group),
        standings=standings(fidelities),
        claims=judge_claims(fidelities, distributions, suite.paper_on),
        distributions=paired,
        distribution_figures=_distribution_figures(anchor, paired, output),
        absences=absences,
        figures=_figures(anchor, rows, output),
        strips=_strips(rows, folder, results.errors),
        analysis=[
            _Picture(path.stem.removeprefix(f"analysis-{model}-"), _url(path))
            for path in analysis_paths(folder, model)
            if path.is_file()
        ],
    )


def _figures(name: str, rows: Sequence[Row], output: Path) -> list[_Picture]:
    pictures = []
    for metric, axis in itertools.product(METRICS, AXES):
        path = output / f"{name}-{metric}-{axis}.png"
        pareto_figure(rows, axis, metric).savefig(path, dpi=110)
        caption = f"{METRICS[metric][0]} over {AXES[axis][0]}"
        pictures.append(_Picture(caption, _url(path)))
    return pictures


def _distribution_figures(
    name: str, pairs: Sequence[tuple[Distribution, float]], output: Path
) -> list[_Picture]:
    if not pairs:
        return []
    path = output / f"{name}-frechet-time.png"
    distribution_figure(pairs).savefig(path, dpi=110)
    return [_Picture("Fréchet distances over speed-up", _url(path))]


def _strips(rows: Sequence[Row], folder: Path, errors: list[str]) -> list[_Picture]:
    """For each speed-up, the full run and every family's best that is near it.

    What is much faster than asked would show another operating point, so it is left out.
    """
    full = [row for row in rows if row.result.method == suite_behind(row.result.setup).full.config]
    pictures = []
    for speedup in SPEEDUPS:
        chosen = list(full)
        for family in dict.fromkeys(row.result.family for row in rows):
            best = best_at([row for row in rows if row.result.family == family], speedup)
            if best is not None and best.speedup < NEAR * speedup:
                chosen.append(best)
        captioned = [(_caption(row), _strip_path(row.result, folder)) for row in chosen]
        there = [(caption, path) for caption, path in captioned if path.is_file()]
        if len(there) < 2:
            continue
        buffer = io.BytesIO()
        try:
            strip(there).save(buffer, "PNG", optimize=True)
        except (OSError, Image.DecompressionBombError) as error:
            errors.append(f"pictures at {speedup:g}x: {' '.join(str(error).split())}")
            continue
        pictures.append(_Picture(f"at {speedup:g}x", _encoded(buffer.getvalue())))
    return pictures


def _caption(row: Row) -> str:
    return f"{row.result.family}\n{row.result.setting}\n{row.speedup:.2f}x, {row.psnr:.1f} dB"


def _strip_path(result: Fidelity, folder: Path) -> Path:
    definition = {"method": result.method, "setup": result.setup.definition()}
    return result_path(folder, result.model, "fidelity", definition).with_suffix(".png")


def _url(path: Path) -> str:
    return _encoded(path.read_bytes())


def _encoded(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
