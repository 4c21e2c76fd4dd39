"""Pictures per second on one process, two processes, and two Ray workers, in turns.

    python bench/scaling.py [--model emoji] [--workers 2] [--batches 12] [--rounds 3] [--json]

Every worker has one thread. All engines are begun first, and each worker has drawn once before
anything is timed: what is compared is the work, and what giving it out and taking it back costs.
Prints the median rate of each, and its ratio to that of as many processes within a round.
"""

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from typing import Any

import torch
from rich.progress import track

from frdiff.engines import Place, engine_of
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.pictures.painter import Batch, Painter
from frdiff.policy import JumpPolicy

BATCH, STEPS = 4, 24


def rates(model: str, workers: int, batches: int, rounds: int) -> dict[str, list[float]]:
    """Pictures per second, round by round, by engine."""
    painter = Painter(
        model, JumpPolicy(2), STEPS, guidance=GUIDANCE[model], inputs=INPUTS.get(model, {})
    )
    captions = shipped_captions(model) or [""]
    jobs = [Batch(BATCH * n, tuple(captions[BATCH * n :][:BATCH])) for n in range(batches)]
    places = {
        "one process": Place(),
        f"{workers} processes": Place(workers=workers),
        f"{workers} Ray workers": Place("ray", workers),
    }
    found: dict[str, list[float]] = {name: [] for name in places}
    with ExitStack() as stack:
        engines: dict[str, Any] = {
            name: stack.enter_context(engine_of(painter, place)) for name, place in places.items()
        }
        for engine in engines.values():
            while len({painted.worker for _, painted in engine(jobs[: 2 * workers])}) < workers:
                if engine is engines["one process"]:
                    break
        for turn in track(range(rounds), "rounds"):
            names = list(engines)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                began = time.perf_counter()
                drawn = sum(len(painted.pictures) for _, painted in engines[name](jobs))
                found[name].append(drawn / (time.perf_counter() - began))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="rates on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = rates(options.model, options.workers, options.batches, options.rounds)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    base = found[f"{options.workers} processes"]
    for name, row in found.items():
        ratio = statistics.median(a / b for a, b in zip(row, base, strict=True))
        print(f"{name:14} {statistics.median(row):6.2f} pictures/s  {ratio:.2f} of processes")


if __name__ == "__main__":
    main()
