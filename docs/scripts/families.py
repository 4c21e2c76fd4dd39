"""A hook of mkdocs: one page per family of models, from the registry and what was measured.

What is counted comes from `docs/models.md`, since counting takes minutes; what was measured from
the profiles of the shipped models and from `bench/gpu.json`; what belongs together, and what no
figure says, from `families.toml`.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from frdiff.catalogue import NOT_DENOISERS
from frdiff.models import profiles, shipped_folder, shipped_models

__all__ = ["Counted", "Family", "Pages", "counted", "families", "on_files", "pages"]

ROOT = Path(__file__).parents[2]
SETS = ("paper", "residual", "all")
MUCH = 0.05  # share of a full step that a reuse step still costs, which is worth a word
APART = 0.25  # bytes of "all" over those of "residual", likewise

Pages = dict[str, str]


@dataclass(frozen=True)
class Family:
    """Denoiser classes that behave alike.

    Attributes:
        slug: of its page.
        title, text, notes: of the page.
        classes: in diffusers.
        pipelines: that tests run at tiny size.
    """

    slug: str
    title: str
    text: str
    classes: Sequence[str]
    pipelines: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Counted:
    """One row of `docs/models.md`.

    Attributes:
        name: of the release; that of the class where there is none.
        class_name, at, batch, gmacs: as the table has them.
        ratios: cost of a reuse step over that of a full one, by set of targets.
        mib: of one keyframe's features in 16 bits, by set of targets.
    """

    name: str
    class_name: str
    at: str
    batch: str
    gmacs: str
    ratios: dict[str, float]
    mib: dict[str, int]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, with the pages of families among them."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def families() -> list[Family]:
    """All families, in the order of the site."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return [Family(**row) for row in tomllib.loads(text)["family"]]


def counted() -> list[Counted]:
    """The rows of `docs/models.md` that have figures.

    Raises:
        ValueError: the table has another form.
    """
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and "`" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [_counted(row) for row in rows if row[-1] == "yes"]


def pages() -> Pages:
    """The pages' text by their place below `docs`."""
    rows = counted()
    found = {f"families/{family.slug}.md": _page(family, rows) for family in families()}
    return {"families/index.md": _index(rows), **found}


def _counted(cells: Sequence[str]) -> Counted:
    name, quoted, at, batch, gmacs, *sets, _ = cells
    if len(sets) != len(SETS):
        raise ValueError(f"docs/models.md: {len(sets)} sets of targets in a row, not {len(SETS)}")
    figures = {key: cell.split(" / ") for key, cell in zip(SETS, sets, strict=True)}
    class_name = quoted.strip("`")
    return Counted(
        name or class_name,
        class_name,
        at,
        batch,
        gmacs,
        {key: float(ratio) for key, (_, ratio, _) in figures.items()},
        {key: int(size) for key, (_, _, size) in figures.items()},
    )


def _index(rows: Sequence[Counted]) -> str:
    lines = [
        "# Models",
        "",
        "Any denoiser of diffusers works, and any of your own that is built of residual blocks:",
        "targets are found by structure. The families below are for reading; one page has",
        "[every class with its figures](../models.md).",
        "",
        "| family | classes | a reuse step costs, of a full one | MiB a keyframe |",
        "|---|---|---|---|",
    ]
    for family in families():
        own = [row for row in rows if row.class_name in family.classes]
        ratios, sizes = [row.ratios["all"] for row in own], [row.mib["all"] for row in own]
        lines.append(
            f"| [{family.title}]({family.slug}.md) | {len(family.classes)} "
            f"| {_between(ratios, '.3f')} | {_between(sizes, ',d')} |"
        )
    lines += [
        "",
        'Reuse steps with targets `"all"`, bytes in 16 bits, counted without weights at published',
        "sizes. Classes that diffusers keeps among its denoisers and that are none:",
        "",
        *(f"- `{name}`: {reason}" for name, reason in NOT_DENOISERS.items()),
    ]
    return "\n".join(lines) + "\n"


def _page(family: Family, rows: Sequence[Counted]) -> str:
    own = [row for row in rows if row.class_name in family.classes]
    lines = [
        f"# {family.title}",
        "",
        family.text,
        "",
        "## What works",
        "",
        "Every class below keeps to one contract at tiny size, with every set of targets and with",
        "jumps: all keyframes give the untouched model's output bit for bit, removing a policy",
        "leaves nothing behind, and two calls of a step, as guidance makes them, never mix.",
        f"Whole pipelines that are tested: {_listed(family.pipelines)}.",
        "",
        "## What it costs",
        "",
        "| model | class | at | batch | GMACs | "
        + " | ".join(f'`"{key}"`: ratio, MiB' for key in SETS)
        + " |",
        "|---" * (5 + len(SETS)) + "|",
        *map(_cost_line, own),
        "",
        "Ratio: cost of a reuse step over that of a full one. MiB: one keyframe's features in 16",
        "bits; a linear forecast keeps two. Batch: 2 where both halves of guidance share a call.",
        "",
        f'    frdiff inspect --model-class "{own[0].name}" --interval 3 --steps 28',
        "",
        "## Measured",
        "",
        *_measured(own),
        "",
        "## To know",
        "",
        *(f"- {note}" for note in [*family.notes, *_odd(own)]),
    ]
    return "\n".join(lines) + "\n"


def _cost_line(row: Counted) -> str:
    name = "" if row.name == row.class_name else row.name
    cells = [name, f"`{row.class_name}`", row.at, row.batch, row.gmacs]
    cells += [f"{row.ratios[key]:.3f}, {row.mib[key]:,}" for key in SETS]
    return "| " + " | ".join(cells) + " |"


def _odd(rows: Sequence[Counted]) -> Iterator[str]:
    for row in rows:
        ratio, own, others = row.ratios["all"], row.mib["all"], row.mib["residual"]
        if ratio > MUCH:
            yield (
                f'{row.name}: a reuse step with `"all"` costs {ratio:.2f} of a full one, so jumps '
                "save more."
            )
        elif own > APART * others and others > 0:
            yield (
                f"{row.name}: not all blocks are stored in one sum, so "
                f'`"all"` takes {own:,} MiB where `"residual"` takes {others:,}.'
            )


def _measured(rows: Sequence[Counted]) -> list[str]:
    shipped = list(_shipped_rows({row.class_name for row in rows}))
    timed = list(_timed_rows({row.name for row in rows}))
    lines = []
    if shipped:
        lines += [
            "Shipped models, medians over pictures in dB to the converged solution, least to",
            "greatest over the guidance scales of the range (float32, CPU):",
            "",
            "| policy | guidance | network calls | speed-up in calls | dB | full run, dB |",
            "|---|---|---|---|---|---|",
            *shipped,
            "",
        ]
    if timed:
        about = json.loads((ROOT / "bench/gpu.json").read_text(encoding="utf-8"))
        lines += [
            f"Time on {about['device']}, bfloat16, random weights, 25 steps",
            "([how](../gpu.md)):",
            "",
            "| model, pictures, mode | policy | speed-up | by MACs | bank MiB |",
            "|---|---|---|---|---|",
            *timed,
            "",
        ]
    return lines or [
        "No trained model of this family is at hand, so quality was not measured: costs above are",
        "counted, behaviour is tested. `frdiff.tune` measures it on yours.",
    ]


def _shipped_rows(classes: set[str]) -> Iterator[str]:
    for model in shipped_models():
        folder = shipped_folder(model)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        parts = {part[1] for part in index.values() if isinstance(part, list)}
        if not classes & parts or not (folder / "profiles.json").is_file():
            continue
        for one in profiles(model).values():
            scales = [scale for scale in one.guidance if scale is not None]
            yield (
                f"| `{model}/{one.name}` | {_between(scales, 'g') or 'none'} "
                f"| {one.measured.calls} of {one.full.calls} | {one.speedup:.2f}x "
                f"| {_between(one.measured.decibels, '.1f')} "
                f"| {_between(one.full.decibels, '.1f')} |"
            )


def _timed_rows(names: set[str]) -> Iterator[str]:
    about = json.loads((ROOT / "bench/gpu.json").read_text(encoding="utf-8"))
    for row in about["rows"]:
        model, pictures, mode = row["case"].split(":")
        if model in names and row["macs"] is not None:
            yield (
                f"| {model}, {pictures}, {mode} | {row['method']} | {row['speedup']:.2f}x "
                f"| {row['macs']:.2f}x | {row['bank']:,.0f} |"
            )


def _between(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
