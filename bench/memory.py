"""What do fewer bytes cost? Shipped models, every way of storing features, and byte budgets.

    python bench/memory.py [--pictures 8] [--rounds 5] [--threads 1] [--json]

Policies that reuse all targets are run with their features stored in every way, in turns with the
same policy as it is: bytes at the peak, dB to the full run, seconds. Then `frdiff.fit_memory` is
asked for budgets, from what features take target by target down to a sixteenth of that, and what it
finds is run within them. Writes docs/memory.md and its picture.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import diffusers
import matplotlib.pyplot as plt
import numpy as np
import torch
from shipped import options_of, tell, track

import frdiff
from frdiff.budget import LADDER
from frdiff.evaluation.runner import choose_prompts
from frdiff.models import INPUTS, shipped_captions
from frdiff.policy import UniformPolicy
from frdiff.search.measure import decibels
from frdiff.search.subject import Batch, PipelineSubject

CASES: tuple[tuple[str, float | None], ...] = (
    ("emoji", 2.0),
    ("emoji", 7.5),
    ("emoji-dit", 1.5),
    ("emoji-dit", 4.0),
    ("emoji-flow", 4.0),
    ("digits", None),
)
STEPS = 25
LINEAR = UniformPolicy(2, forecast=1, mixing=False, targets="all")
POLICIES = {
    "2, linear": LINEAR,
    "3, linear": replace(LINEAR, interval=3),
    "3, copied": replace(LINEAR, interval=3, forecast=0),
}
STORAGES = (None, *LADDER)
DIVISORS = (1, 2, 4, 8, 16, 64)
SEED, FITTED = 700_000, 800_000
PAGE, PICTURE = Path("docs/memory.md"), Path("docs/memory.png")
KIB = 2**10


@dataclass(frozen=True)
class Row:
    """What a policy did with its features stored so.

    Attributes:
        nbytes: of the bank at its peak.
        db: median over pictures of the final latents' signal-to-noise ratio to the full run.
        seconds: median over rounds of the ratio to the same policy as it is; None for that, and
            where it was not measured.
    """

    policy: str
    storage: str
    nbytes: int
    db: float
    seconds: float | None


@dataclass(frozen=True)
class Budget:
    """What was found for a budget.

    Attributes:
        share: of what the features of all targets take by themselves.
        max_bytes: that is.
        nbytes: of the bank at its peak, the same as foretold.
        computed: targets that are computed at every step.
        db: see `Row`; lost: on what the same policy has as it is.
    """

    share: int
    max_bytes: int
    nbytes: int
    storage: str
    computed: int
    db: float
    lost: float


@dataclass(frozen=True)
class Case:
    """A shipped model at a guidance scale."""

    model: str
    guidance: float | None
    pictures: int

    @cached_property
    def subject(self) -> PipelineSubject:
        """The pipeline."""
        pipe = frdiff.load_model(self.model)
        pipe.set_progress_bar_config(disable=True)
        return PipelineSubject(pipe, self.guidance, True, INPUTS.get(self.model, {}))

    def batch(self, seed: int) -> Batch:
        """Pictures; other captions and noises for another seed."""
        captions = shipped_captions(self.model) or [""]
        return Batch(seed, tuple(choose_prompts(captions, self.pictures, seed)))

    def drawn(
        self, policy: UniformPolicy, seed: int, max_bytes: int | None = None
    ) -> tuple[np.ndarray, float, frdiff.Run]:
        """Final latents, seconds, and the run."""
        with frdiff.apply(self.subject.pipe, policy, max_bytes=max_bytes) as run:
            began = time.perf_counter()
            latents = self.subject.run(STEPS, self.batch(seed))
            return latents, time.perf_counter() - began, run

    def full(self, seed: int) -> np.ndarray:
        """What every step computed makes."""
        return self.drawn(UniformPolicy(1), seed)[0]


def rows_of(case: Case, rounds: int) -> Iterator[Row]:
    """Every policy in every way of storing."""
    full = case.full(SEED)
    for name, policy in POLICIES.items():
        for storage in STORAGES:
            if storage is not None and storage.changes is not None and policy.depth == 1:
                continue
            other = replace(policy, storage=storage)
            latents, _, run = case.drawn(other, SEED)
            ratios = []
            for turn in range(rounds if storage and policy is LINEAR else 0):
                # Each goes first half of the time: whoever follows finds another machine.
                order = (other, policy) if turn % 2 else (policy, other)
                took = {one: case.drawn(one, SEED)[1] for one in order}
                ratios.append(took[other] / took[policy])
            yield Row(
                name,
                "as it is" if storage is None else str(storage),
                run.stats.bank_bytes_peak,
                statistics.median(decibels(full, latents, None)),
                statistics.median(ratios) if ratios else None,
            )


def budgets_of(case: Case) -> Iterator[Budget]:
    """What `fit_memory` finds, until nothing fits, on other pictures than it measures on."""
    full = case.full(SEED)
    latents, _, run = case.drawn(LINEAR, SEED)
    as_it_is = statistics.median(decibels(full, latents, None))
    apart = sum(
        LINEAR.depth * target.feature_bytes for cost, _ in run.call_costs for target in cost.targets
    )
    for share in DIVISORS:
        try:
            fitted = frdiff.fit_memory(
                case.subject.pipe,
                LINEAR,
                apart // share,
                case.batch(FITTED).prompts,
                num_steps=STEPS,
                guidance=case.guidance,
                inputs=INPUTS.get(case.model, {}),
                seed=FITTED,
            )
        except ValueError:
            return
        latents, _, run = case.drawn(fitted, SEED, apart // share)
        assert np.isfinite(latents).all()
        db = statistics.median(decibels(full, latents, None))
        yield Budget(
            share,
            apart // share,
            run.stats.bank_bytes_peak,
            "as it is" if fitted.storage is None else str(fitted.storage),
            sum(one.startswith("!") for one in fitted.targets),
            db,
            as_it_is - db,
        )


def draw(measured: dict[Case, list[Row]]) -> None:
    """The front of dB against bytes, a panel a case."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for axis, (case, rows) in zip(axes.flat, measured.items(), strict=True):
        for name in POLICIES:
            own = sorted((row for row in rows if row.policy == name), key=lambda row: row.nbytes)
            axis.plot([row.nbytes / KIB for row in own], [row.db for row in own], "o-", label=name)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda size, _: f"{size:g}")
        axis.set_title(title(case), fontsize=10)
        axis.grid(alpha=0.3)
    figure.supxlabel(f"KiB of features at the peak, {next(iter(measured)).pictures} pictures")
    figure.supylabel("dB to the full run")
    title_ = "keyframes every, and how features are forecast"
    names = list(POLICIES)
    figure.legend(axes.flat[0].lines, names, title=title_, ncols=3, loc="outside upper center")
    figure.savefig(PICTURE, dpi=110)


def title(case: Case) -> str:
    """What is drawn, at which guidance."""
    scale = "unconditional" if case.guidance is None else f"guidance {case.guidance:g}"
    return f"{case.model}, {scale}"


def summary(rows: dict[Case, list[Row]]) -> list[str]:
    """What each way takes and loses, from the least to the most of all cases."""
    lines = ["| features | bytes | dB lost | seconds |", "|---|---|---|---|"]
    first = next(iter(POLICIES))
    for storage in STORAGES[1:]:
        sizes, lost, took = [], [], []
        for own in rows.values():
            whole, *others = (row for row in own if row.policy == first)
            (row,) = (row for row in others if row.storage == str(storage))
            sizes.append(row.nbytes / whole.nbytes)
            lost.append(whole.db - row.db)
            took.append(row.seconds or 1.0)
        cells = f"{min(sizes):.2f} to {max(sizes):.2f} | {min(lost):+.2f} to {max(lost):+.2f}"
        lines.append(f"| {storage} | {cells} | {min(took):.2f} to {max(took):.2f} |")
    return [*lines, ""]


def page(rows: dict[Case, list[Row]], budgets: dict[Case, list[Budget]], rounds: int) -> str:
    """The tables."""
    lines = [
        "# Fewer bytes",
        "",
        f"`make bench-memory` (`python bench/memory.py`): {next(iter(rows)).pictures} pictures, "
        f"{STEPS} steps of each model's own scheduler, targets `all`, float32, "
        f"{platform.machine()} CPU, one thread, torch {torch.__version__}, diffusers "
        f"{diffusers.__version__}; dB are medians of the final latents' signal-to-noise ratio to "
        f"the full run, seconds medians over {rounds} rounds of the ratio to the same policy as it "
        "is, in alternation.",
        "",
        "![dB against bytes](memory.png)",
        "",
        "## Ways of storing",
        "",
        "`half` holds features as float16; `int8` in 8 bits with a scale for every channel of "
        "every picture. `changes` are what older keyframes differ by from the next newer ones, "
        "instead of their features; of a `rank`, that share of their full rank is kept. With "
        "keyframes at every second step, extrapolated linearly, over all models and scales:",
        "",
        *summary(rows),
    ]
    for case, found in rows.items():
        lines += [
            f"| {title(case)}: keyframes every | features | KiB | dB | seconds |",
            "|---|---|---|---|---|",
        ]
        for row in found:
            took = "" if row.seconds is None else f"{row.seconds:.2f}"
            size = f"{row.nbytes / KIB:,.0f}"
            lines.append(f"| {row.policy} | {row.storage} | {size} | {row.db:.2f} | {took} |")
        lines.append("")
    lines += [
        "## Budgets",
        "",
        "What `frdiff.fit_memory` finds for keyframes at every second step, extrapolated linearly; "
        "budgets are shares of what the features of all targets take target by target, without "
        "sums. It was measured on other captions and noises than those of this table. No run held "
        "more than its budget. Where there is no 1/64, nothing fits: a transformer's blocks make "
        "one run here, of which nothing can be computed by itself.",
        "",
        "| model | budget | KiB | taken | features | targets computed | dB | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, own in budgets.items():
        for one in own:
            lines.append(
                f"| {title(case)} | 1/{one.share} | {one.max_bytes / KIB:,.0f} | "
                f"{one.nbytes / KIB:,.0f} | {one.storage} | {one.computed} | {one.db:.2f} | "
                f"{one.lost:+.2f} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures instead of the page")
    options = options_of(parser)
    warnings.simplefilter("ignore")
    cases = [Case(model, guidance, options.pictures) for model, guidance in CASES]
    rows, budgets = {}, {}
    for case in track(cases):
        rows[case] = list(rows_of(case, options.rounds))
        budgets[case] = list(budgets_of(case))
    if not options.json:
        draw(rows)
    everything = {
        title(case): {
            "ways": [asdict(row) for row in rows[case]],
            "budgets": [asdict(row) for row in budgets[case]],
        }
        for case in cases
    }
    tell(everything, PAGE, page(rows, budgets, options.rounds), options)


if __name__ == "__main__":
    main()
