"""Does reuse of features still pay beside jumps and learnt weights?

    python bench/complement.py [--models emoji emoji-dit] [--speedups 2 3] [--reuse-price 0]

Searches with steps between keyframes that reuse features only, with jumps only, and with both to
choose from, as `frdiff.tune(allow_scheduler=True)` does within the same budget; then learns from
the best of fewer steps, of reuse and of jumps, at the same price each. Prints held-out dB,
keyframes + reuse steps + jumps, and predicted costs in full steps as a markdown table. What is
measured lies in outputs/complement, a file per case; run again, it goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shipped import options_of, track

import frdiff
from frdiff.choices import OVERHEAD
from frdiff.engines import engine_of
from frdiff.models import INPUTS, shipped_captions
from frdiff.plan import Action
from frdiff.schedulers.named import is_flow, set_scheduler
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure
from frdiff.search.options import Options
from frdiff.search.outset import learner_of, space_of, truth_of
from frdiff.search.samples import BATCH, halves_of
from frdiff.search.schedules.prices import Prices
from frdiff.search.schedules.space import Space, table_of
from frdiff.search.solvers import solvers_of
from frdiff.search.subject import Batch, PipelineSubject, work_on
from frdiff.search.tuner import WORTH, Learner
from frdiff.search.within import Candidate, search_within
from frdiff.setting import Setting

CASES: dict[str, Sequence[float | None]] = {
    "emoji": (2.0, 7.5),
    "emoji-dit": (1.5, 4.0),
    "emoji-flow": (4.0,),
    "digits": (None,),
}
KINDS = {"reuse": (False,), "jumps": (True,), "both": (False, True)}
HELD_OUT = 16
SEED = 0
FOUND = Path("outputs/complement")

Cell = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What searches within several budgets of one model share.

    Attributes:
        space: with both kinds of steps between keyframes.
        calibration, held_out: measures.
        learner: of tables.
    """

    subject: PipelineSubject
    space: Space
    calibration: Measure
    held_out: Measure
    learner: Learner
    truth: Any

    def searched(self, kinds: Sequence[bool], budget: float, share: float) -> list[Candidate]:
        """The best candidate of every part of a search with some kinds of steps.

        Args:
            share: of the policies that `tune` measures.
        """
        measure = self.calibration
        fresh = Measure(
            measure.engine,
            measure.truth,
            measure.batches,
            measure.journal,
            measure.name,
            measure.peak,
        )
        vars(fresh)["true"] = measure.true
        evaluations = max(round(share * WORTH * self.space.full / budget), 1)
        space = replace(self.space, kinds=kinds)
        return search_within(budget, space, fresh, evaluations=evaluations)

    def learnt(self, start: Setting, runs: float) -> Setting | None:
        """What learning makes of a setting; None if that is not paid for.

        Args:
            runs: spent on it, in full ones. Learning counts reuse steps as full ones, so that
                where there are some more is allowed, and as many MACs spent.
        """
        table = table_of(start)
        plan = table.plan(table.num_steps)
        counted = plan.count(Action.KEYFRAME) + plan.count(Action.REUSE)
        steps = runs * self.space.full * max(counted / self.space.cost(start), 1)
        learnt = self.learner(start, steps)
        return None if learnt is None else replace(start, policy=learnt.policy)


def ignored(*_: Any) -> None:
    """Nothing: what a search tells on its way is not needed here."""


def opened(model: str, scale: float | None) -> tuple[PipelineSubject, int]:
    """A shipped model at a guidance scale, and the steps of its full run."""
    pipe = frdiff.load_model(model)
    flow = is_flow(pipe.scheduler)
    set_scheduler(pipe, "flow-euler" if flow else "dpm++")
    return PipelineSubject(pipe, scale, False, INPUTS.get(model, {})), 28 if flow else 25


def halves(subject: PipelineSubject, model: str, samples: int) -> list[list[Batch]]:
    """What to search on, and what is kept from it."""
    prompts = shipped_captions(model) if subject.needs_prompts else None
    return halves_of(subject, prompts, samples, SEED)


@contextmanager
def case_of(model: str, scale: float | None, samples: int, price: float | None) -> Iterator[Case]:
    """A model at a guidance scale, as `frdiff.tune` sees it.

    Args:
        samples: to search on.
        price: of a reuse step, in full steps; None for what its MACs say.
    """
    begun, num_steps = opened(model, scale)
    searched, kept = halves(begun, model, HELD_OUT)
    searched = searched[: max(samples // BATCH, 1)]
    subject = begun.settled(num_steps, searched[0])
    solvers = solvers_of(subject, True)
    notes = Journal(None, {})
    space = space_of(
        subject, num_steps, solvers, searched[0], "all", Options(overhead=OVERHEAD), notes
    )
    if price is not None:
        space = replace(space, prices=priced(space.prices, price))
    with engine_of(work_on(subject)) as engine:
        truth = truth_of(subject, space, searched[0], notes, engine)
        measures = [
            Measure(engine, truth.setting, half, notes, name, subject.peak)
            for half, name in ((searched, "calibration"), (kept, "held-out"))
        ]
        learner = learner_of(subject, measures[0], notes, ignored)
        yield Case(subject, space, *measures, learner, truth)


def priced(prices: Prices, reuse: float) -> Prices:
    """The prices with another one of a reuse step; a jump costs what it did, at most as much."""
    scale = (1 - reuse + prices.overhead) / sum(prices.saved.values())
    return replace(prices, saved={name: share * scale for name, share in prices.saved.items()})


def cell_of(case: Case, speedup: float, share: float, runs: float) -> Cell:
    """By name, what a budget comes to: steps, cost and held-out dB."""
    budget = case.space.full / speedup
    best: dict[str, Candidate] = {}
    for choice, kinds in KINDS.items():
        fewer, *others = case.searched(kinds, budget, share)
        best["fewer steps"] = fewer
        if others:
            best[choice] = max(others, key=lambda candidate: candidate.quality)
    settings = {name: candidate.setting for name, candidate in best.items()}
    for start in ("fewer steps", "reuse", "jumps") if runs else ():
        learnt = case.learnt(settings[start], runs) if start in settings else None
        if learnt is not None:
            settings[f"from {start}"] = learnt
    measured = case.held_out([*settings.values()])
    told_of = {
        name: told(case, setting, values)
        for (name, setting), values in zip(settings.items(), measured, strict=True)
    }
    return {"price": round(case.space.prices.reuse, 3), **told_of}


def told(case: Case, setting: Setting, values: Sequence[float]) -> Cell:
    """What a table prints of a setting, and its policy as JSON."""
    table = table_of(setting)
    plan = table.plan(table.num_steps)
    return {
        "db": round(case.held_out.quality(values, 0.5), 2),
        "cost": round(case.space.cost(setting), 2),
        "solver": setting.scheduler,
        "num_inference_steps": setting.steps,
        "policy": setting.policy.dumps(),
        "steps": [plan.count(action) for action in (Action.KEYFRAME, Action.REUSE, Action.JUMP)],
    }


def table(found: dict[str, Cell]) -> str:
    """Markdown: a line per case; steps are keyframes + reuse steps + jumps."""
    names = ["fewer steps", *KINDS, "from fewer steps", "from reuse", "from jumps"]
    lines = ["| case | price of a reuse step | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for name, cell in found.items():
        line = f"| {name} | {cell['price']} |"
        for column in names:
            entry = cell.get(column)
            steps = "+".join(map(str, entry["steps"])) if entry else ""
            line += f" {entry['db']:.1f} ({steps}, {entry['cost']:.1f}) |" if entry else " - |"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Tune what has not been, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--guidance", type=float, nargs="+", help="default: two of each model")
    parser.add_argument("--speedups", type=float, nargs="+", default=[2.0, 3.0])
    parser.add_argument("--samples", type=int, default=8, help="to search on")
    parser.add_argument("--share", type=float, default=0.4, help="of the policies tune measures")
    parser.add_argument("--reuse-price", type=float, help="of a reuse step; default: its MACs'")
    parser.add_argument("--learning", type=float, default=8, help="full runs, on each start")
    options = options_of(parser)
    price, runs = options.reuse_price, options.learning
    cases = [
        (model, scale)
        for model in options.models
        for scale in (CASES[model] if options.guidance is None else options.guidance)
    ]
    found: dict[str, Cell] = {}
    for model, scale in track(cases, "cases"):
        kind = f"{model}-{scale}-{options.samples}-{options.share}-{price}-{runs:g}"
        path = FOUND / f"{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text()) if path.exists() else {}
        wanted = [f"{speedup:g}" for speedup in options.speedups]
        if not all(speedup in known for speedup in wanted):
            with case_of(model, scale, options.samples, price) as case:
                for speedup in wanted:
                    if speedup not in known:
                        known[speedup] = cell_of(case, float(speedup), options.share, runs)
                        path.write_text(json.dumps(known, indent=1) + "\n")
        said = model if scale is None else f"{model}, {scale:g}"
        found |= {f"{said}, {speedup}x": known[speedup] for speedup in wanted}
    print(table(found))


if __name__ == "__main__":
    main()
