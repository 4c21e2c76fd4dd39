"""Distribution metrics at the operating points that matter, beside the spread of the full run.

A distance means nothing alone: the full run drawn again from other seeds is at some distance from
itself too. Only what lies beyond that spread is a loss.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frdiff.engines import Engine, local_engine
from frdiff.evaluation.embedder import ShippedEmbedder
from frdiff.evaluation.inception import Inception
from frdiff.evaluation.methods import Method
from frdiff.evaluation.metrics import frechet_distance, kernel_distance, precision_recall
from frdiff.evaluation.results.files import add_result, keys_in, measurement_key
from frdiff.evaluation.results.records import Distribution, Fidelity
from frdiff.evaluation.results.summary import GROUPS, SPEEDUPS, best_at, rows_of
from frdiff.evaluation.runner import Bench
from frdiff.evaluation.suites import Suite
from frdiff.evaluation.worker import Job, Pictures, Worker

__all__ = ["distribution_key", "distribution_tasks", "measure_distribution", "networks_of"]

SEED_SETS = {"full": 10_000, "full, seeds B": 20_000, "full, seeds C": 30_000}
# Which full run another is compared with: round the circle, so that three seeds give three pairs.
OTHER_SEEDS = dict(zip(SEED_SETS, [*list(SEED_SETS)[1:], "full"], strict=True))


def distribution_tasks(
    results: Sequence[Fidelity], suite: Suite
) -> list[tuple[str, dict[str, Any]]]:
    """The operating points and the methods' definitions: the full run, then the best of each group.

    The full run is drawn from three sets of seeds. For each speed-up and group the best setting by
    median PSNR among those that reach the speed-up to within 8 % is taken; at last the settings
    that the suite names.
    """
    tasks = [(point, suite.full.config) for point in SEED_SETS]
    rows = rows_of(results)
    for speedup in SPEEDUPS:
        for group in GROUPS:
            best = best_at([row for row in rows if row.group == group], speedup)
            if best is not None:
                tasks.append((f"{speedup:g}x", best.result.method))
    named = [
        (point, row.result.method)
        for point, method in suite.named()
        for row in rows
        if (row.result.family, row.result.setting) == (method.family, method.setting)
    ]
    return tasks + named


def distribution_key(bench: Bench, point: str, method: Method, inception: Inception | None) -> str:
    """The key of a measurement; see `measure_distribution` for the arguments."""
    definition = bench.definition(method, point=point, **_named(inception))
    return measurement_key(bench.model, "distribution", definition)


def _named(inception: Inception | None) -> dict[str, str]:
    return {} if inception is None else {"inception": inception.name}


def measure_distribution(
    bench: Bench,
    embedder: ShippedEmbedder,
    point: str,
    method: Method,
    inception: Inception | None = None,
    engine: Engine[Job, Any] | None = None,
) -> None:
    """Draw one picture per prompt of the bench's setup and write the metrics; skip what is done.

    Args:
        bench: its setup has the prompts of all samples, 1,000 or more.
        point: a name in `distribution_tasks`; the full run's say which seeds to draw from.
        inception: a second network to look through.
        engine: of a `Worker` with the networks of `networks_of`; None for this process.
    """
    if distribution_key(bench, point, method, inception) in keys_in(bench.folder, bench.model):
        return
    draws = engine or local_engine(
        Worker(bench.pipe, bench.setup, networks_of(embedder, inception))
    )

    def features(chosen: Method, seed: int) -> dict[str, np.ndarray]:
        return _features(bench, chosen, seed, _named(inception), draws)

    seen = features(method, SEED_SETS.get(point, SEED_SETS["full"]))
    seen_full = features(bench.setup.full, SEED_SETS[OTHER_SEEDS.get(point, "full, seeds B")])
    drawn, full = seen["own"], seen_full["own"]
    training = embedder.training_features
    precision, recall = precision_recall(training, drawn)
    precision_full, recall_full = precision_recall(full, drawn)
    captions = list(bench.setup.prompts)
    known = set(captions) <= set(embedder.network.config.classes)
    add_result(
        bench.folder,
        Distribution(
            **bench.record(method),
            point=point,
            samples=len(drawn),
            frechet_training=frechet_distance(training, drawn),
            kernel_training=kernel_distance(training, drawn),
            precision=precision,
            recall=recall,
            frechet_full=frechet_distance(full, drawn),
            kernel_full=kernel_distance(full, drawn),
            precision_full=precision_full,
            recall_full=recall_full,
            accuracy=embedder.accuracy(drawn, captions) if known else None,
            **({} if inception is None else _frechet_inception(inception, seen_full, seen)),
        ),
    )


def _frechet_inception(
    inception: Inception, full: dict[str, np.ndarray], drawn: dict[str, np.ndarray]
) -> dict[str, Any]:
    distance = frechet_distance(full["inception"], drawn["inception"])
    return {"inception": inception.name, "frechet_inception": distance}


def networks_of(
    embedder: ShippedEmbedder, inception: Inception | None
) -> dict[str, ShippedEmbedder | Inception]:
    """Those that look at pictures, by name."""
    return {"own": embedder} if inception is None else {"own": embedder, "inception": inception}


def _features(
    bench: Bench, method: Method, seed: int, more: dict[str, str], engine: Engine[Job, Any]
) -> dict[str, np.ndarray]:
    """Features of one picture per prompt, kept in the results' folder batch by batch."""
    definition = bench.definition(method, seed=seed, **more)
    parts = bench.folder / "references" / measurement_key(bench.model, "features", definition)
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [
        Pictures(method, first, tuple(prompts), seen=True)
        for first, prompts in replace(bench.setup, seed=seed).batches()
    ]
    kept = {job.seed: _load(parts / f"{job.seed}.npz") for job in jobs}
    missing = [job for job in jobs if kept[job.seed] is None]
    for number, seen in engine(missing):
        first = missing[number].seed
        _save(parts / f"{first}.npz", seen)
        kept[first] = seen
    found = [batch for batch in kept.values() if batch is not None]
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """The features in a file; None if it holds none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _save(path: Path, features: dict[str, np.ndarray]) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, allow_pickle=False, **features)
    temporary.replace(path)
