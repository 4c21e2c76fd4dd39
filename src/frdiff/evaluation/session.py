"""A whole bench of one shipped model: fidelity of every method, then distributions."""

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.engines import HERE, Engine, Place, engine_of
from frdiff.evaluation.distributions import (
    distribution_key,
    distribution_tasks,
    measure_distribution,
    networks_of,
)
from frdiff.evaluation.embedder import ShippedEmbedder, load_embedder
from frdiff.evaluation.inception import Inception, load_inception
from frdiff.evaluation.measure import Setup
from frdiff.evaluation.methods import Method, tuned_methods
from frdiff.evaluation.peers import CALIBRATION_SEED
from frdiff.evaluation.results.files import keys_in, read_results, tidy
from frdiff.evaluation.runner import (
    Bench,
    OnEvent,
    choose_prompts,
    measure_all,
    write_absence,
)
from frdiff.evaluation.suites import Suite, suite_of
from frdiff.evaluation.worker import Job, Worker
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.search.samples import halves_of
from frdiff.search.subject import PipelineSubject

__all__ = ["Extent", "bench_model"]

CALIBRATION_SAMPLES = 16  # as `tune` takes


@dataclass(frozen=True)
class Extent:
    """How much to measure.

    Attributes:
        peers: measure those that are installed, too.
        learnt: measure the opponents that take minutes to calibrate, too.
        everything: all settings, and distribution metrics at the operating points.
        pictures: paired samples per setting.
        samples: pictures per operating point for the distribution metrics.
        seed: picture i is drawn from seed + i.
        guidance: guidance scale; None for the one in `frdiff.models.GUIDANCE`.
        inception: look at distributions through Inception too.
        budget: seconds after which nothing new begins; None for no limit.
    """

    peers: bool = False
    learnt: bool = False
    everything: bool = False
    pictures: int = 64
    samples: int = 1000
    seed: int = 0
    guidance: float | None = None
    inception: bool = False
    budget: float | None = None


def bench_model(
    model: str,
    pipe: DiffusionPipeline,
    folder: Path,
    extent: Extent,
    on_event: OnEvent = lambda line, done, total: None,
    place: Place = HERE,
) -> int:
    """Measure a shipped model into `folder`; returns how many measurements are left.

    What is measured is the same wherever it is drawn, but for seconds. Where several workers share
    a machine they are in each other's way, and the full run, timed in turns, is so as well.

    Args:
        on_event: called with a line of what begins, the number done, and that of all.
        place: where pictures are drawn.

    Raises:
        ValueError: not a shipped model, its converged solution has not converged, or Inception is
            asked for and not installed.
        WorkError: a method that is no peer's fails on a worker, or no worker is left.
    """
    began = time.monotonic()
    inception = load_inception() if extent.inception else None
    embedder = load_embedder(model)
    captions = shipped_captions(model)
    guidance = GUIDANCE[model] if extent.guidance is None else extent.guidance
    suite = suite_of(pipe)
    inputs = INPUTS.get(model, {})
    prompts = choose_prompts(captions, extent.pictures, extent.seed)
    others = [caption for caption in captions if caption not in prompts] or captions
    subject = PipelineSubject(pipe, guidance, inputs=inputs)
    calibration, _ = halves_of(subject, others, CALIBRATION_SAMPLES, CALIBRATION_SEED)
    setup = Setup(
        prompts,
        extent.seed,
        guidance=guidance,
        full=suite.full,
        reference=suite.reference,
        inputs=inputs,
        calibration=tuple(calibration),
    )
    bench = Bench(model, pipe, setup, folder)
    methods = suite.methods(everything=extent.everything, peers=extent.peers, learnt=extent.learnt)
    methods += tuned_methods(model, suite.full.scheduler)
    worker = Worker(pipe, setup, networks_of(embedder, inception))
    with ExitStack() as after:
        after.callback(tidy, folder, model)
        engine = after.enter_context(engine_of(worker, place))
        left = measure_all(bench, methods, extent.budget, engine, on_event)
        if not extent.everything:
            return left
        large = dataclasses.replace(
            setup, prompts=choose_prompts(captions, extent.samples, extent.seed), batch=32
        )
        bench = dataclasses.replace(bench, setup=large)
        ends = None if extent.budget is None else began + extent.budget
        looks = embedder, inception
        return left + _distributions(bench, suite, extent.peers, looks, ends, engine, on_event)


def _distributions(
    bench: Bench,
    suite: Suite,
    peers: bool,
    looks: tuple[ShippedEmbedder, Inception | None],
    ends: float | None,
    engine: Engine[Job, Any],
    on_event: OnEvent,
) -> int:
    """Measure the distributions that are not there yet; returns how many are left."""
    rows = read_results(bench.folder).fidelities
    tasks = distribution_tasks([row for row in rows if row.model == bench.model], suite)
    finished = keys_in(bench.folder, bench.model)
    left = 0
    for number, (point, config) in enumerate(tasks):
        method = Method.from_config(config)
        if method.is_foreign and not peers:
            continue
        if distribution_key(bench, point, method, looks[1]) in finished:
            continue
        if ends is not None and time.monotonic() > ends:
            left += 1
            continue
        on_event(f"distribution: {method.family}, {point}", number, len(tasks))
        try:
            measure_distribution(bench, looks[0], point, method, looks[1], engine)
        except Exception as error:
            if method.peer is None:
                raise
            reason = f"distribution failed: {type(error).__name__}: {error}"
            write_absence(bench, method, reason, whole_family=False)
    return left
