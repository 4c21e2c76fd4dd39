"""The page: one self-contained HTML file from a folder of results, and the figures of documents."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from frdiff.evaluation.methods import solver_label
from frdiff.evaluation.page.analysis_figures import analysis_paths
from frdiff.evaluation.page.figures import (
    AXES,
    METRICS,
    distribution_figure,
    group_figure,
    pareto_figure,
    summary_figure,
)
from frdiff.evaluation.page.pictures import figure_url, picture_url
from frdiff.evaluation.page.standings import standings_markdown
from frdiff.evaluation.results.claims import Claim, judge_claims
from frdiff.evaluation.results.comparable import Place, comparable, places_of
from frdiff.evaluation.results.files import Results, key_of, read_results, strip_path
from frdiff.evaluation.results.records import Absence, Conditions, Distribution
from frdiff.evaluation.results.speeds import gpu_speeds, speeds_of
from frdiff.evaluation.results.summary import SPEEDUPS, Row, Standing, best_at, rows_of, standings
from frdiff.evaluation.suites import Suite, suite_behind

__all__ = ["Report", "write_report"]

NEAR = 1.6
COLUMNS = ("fewer steps", "tuned", "frdiff", "peer", "paper")  # of the summary, groups
SUMMED_UP = SPEEDUPS[1:]  # speed-ups of the summary
THUMBNAIL = 360, 60  # pixels
ANALYSIS = 800, 1200
# Of the page; all others stand in its tables.
FIGURES = (("psnr", "time"), ("psnr", "macs"), ("psnr_full", "time"))


@dataclass(frozen=True)
class _Picture:
    """A picture of the page.

    Attributes:
        caption: what it shows.
        source: as a data URL.
        file: of what it is a small copy, within the folder of results; empty where it is none.
    """

    caption: str
    source: str
    file: str = ""


@dataclass(frozen=True)
class _Section:
    """One model at one guidance on the page.

    Attributes:
        strips: the first pictures of methods, by speed-up; the full run's by themselves.
    """

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
    strips: dict[str, list[_Picture]]
    analysis: list[_Picture]

    @property
    def full(self) -> Row | None:
        """The full run; None if it was not measured."""
        found = (row for row in self.rows if row.result.method == self.suite.full.config)
        return next(found, None)


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


def write_report(folder: Path, output: Path, gpu: Path | None = None) -> Report:
    """Write `index.html`, `standings.md` and PNGs into `output`; returns what they show.

    Args:
        folder: of the result files, as `frdiff bench` writes them.
        output: made if it is not there.
        gpu: what `bench/gpu.py --output` wrote, to stand beside; None without.

    Raises:
        ValueError: `folder` holds no result that can be read.
    """
    results = read_results(folder)
    if not results.fidelities:
        told = "; ".join(results.errors[:3])
        raise ValueError(f"no results in {folder}" + (f": {told}" if told else ""))
    output.mkdir(parents=True, exist_ok=True)
    sections = [_section(place, results, folder, output) for place in places_of(results)]
    report = Report(
        output / "index.html",
        sum(len(section.rows) for section in sections),
        {section.name: section.groups for section in sections},
        {section.name: section.standings for section in sections},
        results.errors,
    )
    speeds = [
        row for each in sections for row in speeds_of(each.name, each.full, each.groups, SUMMED_UP)
    ]
    try:
        speeds += [] if gpu is None else gpu_speeds(gpu)
    except (OSError, ValueError) as error:
        results.errors.append(" ".join(str(error).split()))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("frdiff.evaluation.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        sections=sections,
        summary=figure_url(summary_figure(report.groups, SUMMED_UP)),
        summed_up=SUMMED_UP,
        speeds=speeds,
        errors=results.errors,
        columns=COLUMNS,
        speedups=SPEEDUPS,
        label=solver_label,
    )
    report.page.write_text(page, encoding="utf-8")
    (output / "standings.md").write_text(standings_markdown(report.families), encoding="utf-8")
    return report


def _section(place: Place, results: Results, folder: Path, output: Path) -> _Section:
    fidelities, distributions = comparable(place, results)
    measured = {
        (result.family, setting) for result in fidelities for setting in (result.setting, None)
    }
    absences = [
        absence
        for absence in results.absences
        if absence.model == place.model and (absence.family, absence.setting) not in measured
    ]
    rows = rows_of(fidelities)
    speedups = {(row.result.family, row.result.setting): row.speedup for row in rows}
    paired = [
        (row, speedups[row.family, row.setting])
        for row in distributions
        if (row.family, row.setting) in speedups
    ]
    about, suite = fidelities[0].about, suite_behind(fidelities[0].setup)
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    # For documents, where every family has a name.
    pareto_figure(rows, "time", "psnr").savefig(output / f"{place.anchor}-psnr-time.png", dpi=110)
    return _Section(
        name=place.name,
        anchor=place.anchor,
        about=f"{about.hardware}; {fidelities[0].setup.dtype}; {versions}",
        setup=fidelities[0].setup,
        suite=suite,
        rows=rows,
        groups=standings(fidelities, lambda row: row.group),
        standings=standings(fidelities),
        claims=judge_claims(fidelities, distributions, suite.paper_on),
        distributions=paired,
        distribution_figures=_distribution_figures(paired),
        absences=absences,
        figures=[
            _Picture(
                f"{METRICS[metric][0]} over {AXES[axis][0]}",
                figure_url(group_figure(rows, axis, metric)),
            )
            for metric, axis in FIGURES
        ],
        strips=_strips(rows, suite, folder, results.errors),
        analysis=_analysis(folder, place.model, results.errors),
    )


def _distribution_figures(pairs: Sequence[tuple[Distribution, float]]) -> list[_Picture]:
    if not pairs:
        return []
    return [_Picture("Fréchet distances over speed-up", figure_url(distribution_figure(pairs)))]


def _analysis(folder: Path, model: str, errors: list[str]) -> list[_Picture]:
    """The pictures of `frdiff analyze`, as far as they are there."""
    found = []
    for path in analysis_paths(folder, model):
        if path.is_file():
            caption = path.stem.removeprefix(f"analysis-{model}-")
            found += _copy(caption, path, folder, ANALYSIS, errors)
    return found


def _strips(
    rows: Sequence[Row], suite: Suite, folder: Path, errors: list[str]
) -> dict[str, list[_Picture]]:
    """The full run, and for two speed-ups every family's best that is near it.

    What is much faster than asked would show another operating point, so it is left out.
    """
    chosen = {"the full run": [row for row in rows if row.result.method == suite.full.config]}
    families = [list(own) for _, own in itertools.groupby(rows, lambda row: row.result.family)]
    for speedup in SUMMED_UP:
        best = [best_at(own, speedup) for own in families]
        chosen[f"at {speedup:g}x"] = [
            row for row in best if row is not None and row.speedup < NEAR * speedup
        ]
    found = {}
    for name, near in chosen.items():
        pictures = []
        for row in near:
            path = strip_path(folder, key_of(row.result))
            if path.is_file():
                caption = f"{row.result.family}: {row.result.setting}"
                said = f"{caption}; {row.speedup:.2f}x, {row.psnr:.1f} dB"
                pictures += _copy(said, path, folder, THUMBNAIL, errors)
        if pictures:
            found[name] = pictures
    return found


def _copy(
    caption: str, path: Path, folder: Path, size: tuple[int, int], errors: list[str]
) -> list[_Picture]:
    """A small copy of a picture; none where the file holds none, and `errors` then says so."""
    try:
        return [_Picture(caption, picture_url(path, *size), str(path.relative_to(folder)))]
    except ValueError as error:
        errors.append(str(error))
        return []
