"""Distribution metrics at the operating points that matter, beside the spread of the full run.

A distance means nothing alone: the full run drawn again from other seeds is at some distance from
itself too. Only what lies beyond that spread is a loss.
"""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frdiff.bench.embedder import ShippedEmbedder
from frdiff.bench.inception import Inception
from frdiff.bench.methods import Method
from frdiff.bench.metrics import frechet_distance, kernel_distance, precision_recall
from frdiff.bench.results import Distribution, Fidelity, result_path, write_result
from frdiff.bench.runner import Bench, is_finished
from frdiff.bench.suites import Suite
from frdiff.bench.summary import GROUPS, SPEEDUPS, best_at, rows_of

__all__ = ["distribution_path", "distribution_tasks", "measure_distribution"]

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


def distribution_path(
    bench: Bench, point: str, method: Method, inception: Inception | None
) -> Path:
    """The file of a measurement; see `measure_distribution` for the arguments."""
    definition = bench.definition(method, point=point, **_named(inception))
    return result_path(bench.folder, bench.model, "distribution", definition)


def _named(inception: Inception | None) -> dict[str, str]:
    return {} if inception is None else {"inception": inception.name}


def measure_distribution(
    bench: Bench,
    embedder: ShippedEmbedder,
    point: str,
    method: Method,
    inception: Inception | None = None,
) -> None:
    """Draw one picture per prompt of the bench's setup and write the metrics; skip what is done.

    Args:
        bench: its setup has the prompts of all samples, 1,000 or more.
        point: a name in `distribution_tasks`; the full run's say which seeds to draw from.
        inception: a second network to look through.
    """
    path = distribution_path(bench, point, method, inception)
    if is_finished(path):
        return

    def look(images: np.ndarray) -> dict[str, np.ndarray]:
        seen = {"own": embedder.features(images)}
        return seen if inception is None else seen | {"inception": inception.features(images)}

    def features(chosen: Method, seed: int) -> dict[str, np.ndarray]:
        return _features(bench, chosen, seed, _named(inception), look)

    seen = features(method, SEED_SETS.get(point, SEED_SETS["full"]))
    seen_full = features(bench.setup.full, SEED_SETS[OTHER_SEEDS.get(point, "full, seeds B")])
    drawn, full = seen["own"], seen_full["own"]
    training = embedder.training_features
    precision, recall = precision_recall(training, drawn)
    precision_full, recall_full = precision_recall(full, drawn)
    captions = list(bench.setup.prompts)
    known = set(captions) <= set(embedder.network.config.classes)
    write_result(
        path,
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


def _features(
    bench: Bench,
    method: Method,
    seed: int,
    more: dict[str, str],
    look: Callable[[np.ndarray], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Features of one picture per prompt, kept in the results' folder batch by batch."""
    setup = replace(bench.setup, seed=seed)
    definition = bench.definition(method, seed=seed, **more)
    parts = result_path(bench.folder / "references", bench.model, "features", definition)
    parts = parts.with_suffix("")
    parts.mkdir(parents=True, exist_ok=True)
    batches = []
    with method.attached(bench.pipe, setup.guidance) as (source, _):
        for first, prompts in setup.batches():
            path = parts / f"{first}.npz"
            kept = _load(path)
            if kept is None:
                kept = look(setup.draw(source, prompts, method.steps, first))
                _save(path, kept)
            batches.append(kept)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


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
