"""How a search scales: a simulation, checked against searches on 1, 2 and 4 workers, and a table.

    python bench/search_scaling.py check --model digits    # six minutes, on an idle machine
    python bench/search_scaling.py trace --model emoji     # eight minutes, into bench/search.json
    python bench/search_scaling.py table                   # seconds, from that file

A trace of a search in one process has what the driver does between rounds of jobs, and every job,
in seconds and in samples through the denoiser. `check` measures what giving a job to a Ray worker
costs and how long one takes to begin, simulates the search traced on 1, 2 and 4 workers of this
machine (simpy), and runs it there. `table` simulates it for models and clusters that are not here;
what it assumes of them is in `Gpu`.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import simpy
import torch
from rich.progress import track

import frdiff
from frdiff.engines import Engine, Place, engine_of
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.policy import TablePolicy
from frdiff.search import api
from frdiff.search.subject import Batch, PipelineSubject, drawing, work_on
from frdiff.setting import Setting

KEPT = Path(__file__).parent / "search.json"
STEPS, SPEEDUP, SAMPLES = 25, 2, 16
SLICE = 0.02  # seconds that a processor is had for
COUNTS = 1, 2, 4
ECHOES = 20


@dataclass(frozen=True)
class Work:
    """Some of what a search does.

    Attributes:
        seconds: on one thread.
        samples: through the denoiser, those of both halves of guidance.
    """

    seconds: float
    samples: int


@dataclass(frozen=True)
class Round:
    """What the driver does, and the jobs that it then gives out.

    Attributes:
        driver: before the jobs.
        jobs: that can be done in any order.
    """

    driver: Work
    jobs: tuple[Work, ...]


@dataclass(frozen=True)
class Cluster:
    """What jobs are done on.

    Attributes:
        workers: that do them.
        processors: that workers and driver share.
        begins: seconds of a processor until a worker can do its first job.
        gives: seconds of the driver to give a job and take its result.
        beside: how much longer work takes while other processors are busy.
    """

    workers: int
    processors: int
    begins: float
    gives: float
    beside: float = 1.0


@dataclass(frozen=True)
class Spent:
    """What a search took.

    Attributes:
        seconds: of all.
        alone: of them, in which the driver works and all workers wait.
    """

    seconds: float
    alone: float


def simulated(before: float, rounds: Iterable[Round], cluster: Cluster) -> Spent:
    """What a search would take.

    Args:
        before: seconds of the driver until workers are begun.
        rounds: in their order.
    """
    world = simpy.Environment()
    processors = simpy.Resource(world, cluster.processors)
    jobs, results = simpy.Store(world), simpy.Store(world)
    alone = 0.0
    shared = cluster.processors <= cluster.workers

    def computing(seconds: float) -> Iterator[Any]:
        while seconds > 1e-9:
            with processors.request() as mine:
                yield mine
                slower = cluster.beside if processors.count > 1 else 1.0
                took = min(SLICE, seconds * slower) if shared else seconds * slower
                yield world.timeout(took)
                seconds -= took / slower

    def worker() -> Iterator[Any]:
        yield from computing(cluster.begins)
        while True:
            seconds = yield jobs.get()
            yield from computing(seconds)
            yield results.put(None)

    def driver() -> Iterator[Any]:
        nonlocal alone
        yield from computing(before)
        for _ in range(cluster.workers):
            world.process(worker())
        for one in rounds:
            began = world.now
            yield from computing(one.driver.seconds)
            alone += world.now - began
            for job in one.jobs:
                yield jobs.put(job.seconds)
            for _ in one.jobs:
                yield results.get()
                yield from computing(cluster.gives)

    world.run(world.process(driver()))
    return Spent(world.now, before + alone)


def traced(model: str) -> tuple[Work, list[Round]]:
    """What the driver does before workers are begun, and the rounds of a search in one process."""
    pipe = frdiff.load_model(model)
    denoiser = type(getattr(pipe, "unet", None) or pipe.transformer)
    inner, passed, mark = denoiser.forward, 0, [time.perf_counter(), 0]
    before: list[Work] = []
    rounds: list[Round] = []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        passed += len(next(value for value in (*args, *kwargs.values()) if torch.is_tensor(value)))
        return inner(self, *args, **kwargs)

    def since() -> Work:
        now = time.perf_counter()
        done = Work(round(now - mark[0], 4), passed - mark[1])
        mark[:] = now, passed
        return done

    @contextmanager
    def tracing(work: Any, place: Place) -> Iterator[Engine]:
        before.append(since())

        def engine(jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            jobs = list(jobs)
            if not jobs:
                return
            driver, done = since(), []
            try:
                for number, job in enumerate(jobs):
                    since()
                    result = work(job)
                    done.append(since())
                    yield number, result
            finally:  # who wants one result does not ask for more
                rounds.append(Round(driver, tuple(done)))

        yield engine

    with patch.object(api, "engine_of", tracing), patch.object(denoiser, "forward", forward):
        _search(pipe, model)
    return before[0], [*rounds, Round(since(), ())]


def trace(model: str) -> None:
    """Keep the trace of a search for `table`."""
    torch.set_num_threads(1)
    before, rounds = traced(model)
    content = {"model": model, "before": before, "rounds": rounds}
    KEPT.write_text(json.dumps(content, default=dataclasses.asdict) + "\n")


def _search(pipe: Any, model: str, **place: Any) -> None:
    frdiff.tune(
        pipe,
        shipped_captions(model),
        num_steps=STEPS,
        speedup=SPEEDUP,
        allow_scheduler=True,
        samples=SAMPLES,
        guidance=GUIDANCE[model],
        inputs=INPUTS.get(model, {}),
        **place,
    )


def measured_costs(model: str) -> tuple[float, float, float]:
    """Seconds until a worker can do its first job, of giving one, and the slow-down of two."""
    pipe = frdiff.load_model(model)
    subject = PipelineSubject(pipe, GUIDANCE[model], inputs=INPUTS.get(model, {}))
    work = work_on(subject)
    prompts = tuple((shipped_captions(model) or [""])[:1] * 8)
    short = Setting(2, TablePolicy(2, [(0,)] * 2, targets=()))
    jobs = [drawing(short, Batch(0, prompts))] * ECHOES
    work(jobs[0])
    began = time.perf_counter()
    for job in jobs:
        work(job)
    each = (time.perf_counter() - began) / ECHOES
    began = time.perf_counter()
    with engine_of(work, Place("ray", 1)) as engine:
        list(engine(jobs[:1]))
        begins = time.perf_counter() - began - each
        took = [_seconds(engine, jobs) for _ in range(3)]
    alone = statistics.median(took)
    with engine_of(work, Place("ray", 2)) as engine:
        list(engine(jobs))
        list(engine(jobs))
        both = statistics.median(_seconds(engine, jobs) for _ in range(3))
    gives = max(alone / ECHOES - each, 0.0)
    return begins, gives, max(both / (alone / 2), 1.0)


def _seconds(engine: Engine, jobs: list[Any]) -> float:
    began = time.perf_counter()
    list(engine(jobs))
    return time.perf_counter() - began


def check(model: str) -> None:
    """Simulate a search on this machine's processors, run it, and print both."""
    import ray

    torch.set_num_threads(1)
    ray.init(num_cpus=max(COUNTS), include_dashboard=False, log_to_driver=False)
    begins, gives, beside = measured_costs(model)
    print(f"a worker begins in {begins:.1f} s; a job is given in {1000 * gives:.1f} ms; two "
          f"beside each other take {beside:.2f} times as long")  # fmt: skip
    before, rounds = traced(model)
    processors = torch.multiprocessing.cpu_count()
    for count in track(COUNTS, "searching"):
        cluster = Cluster(count, processors, begins, gives, beside)
        said = simulated(before.seconds, rounds, cluster)
        pipe = frdiff.load_model(model)
        began = time.perf_counter()
        _search(pipe, model, engine="ray", workers=count)
        took = time.perf_counter() - began
        ratio, alone = said.seconds / took, said.alone / said.seconds
        print(f"{count} workers: {said.seconds:.1f} s simulated, {took:.1f} s measured, ratio "
              f"{ratio:.2f}; in {alone:.0%} of it the driver works alone")  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """What `table` assumes of machines: eight H100 to a node, and a driver on one of its own.

    Attributes:
        flops: a second, in bfloat16; 40 % of what the data sheet says.
        network: bytes a second between nodes (100 Gbit/s), and from the store to a GPU.
        compares: bytes a second of samples that the driver compares with the truth, as measured.
        gives: seconds of the driver to give a job and take its result, but for its bytes.
        begins: seconds until Python, torch and diffusers are imported on a worker.
    """

    flops: float = 0.4 * 989e12
    network: float = 12.5e9
    compares: float = 0.8e9
    gives: float = 0.003
    begins: float = 20.0


GPU = Gpu()
TOKENS = 4096  # of a picture of 1024 x 1024
LATENTS, PICTURE = 16 * 128 * 128 * 4, 3 * 1024 * 1024 * 4  # bytes that come back of each sample
BILLIONS, CLUSTERS = (1, 5, 12, 20), (1, 2, 4, 8, 64, 512)
PER_JOB = SAMPLES // 2  # samples of a job, as `tune` cuts them


def table() -> None:
    """Print a Markdown table of searches that are not here."""
    content = json.loads(KEPT.read_text())
    before = Work(**content["before"])
    rounds = [
        Round(Work(**row["driver"]), tuple(Work(**job) for job in row["jobs"]))
        for row in content["rounds"]
    ]
    jobs = [job for one in rounds for job in one.jobs]
    driven = before.samples + sum(one.driver.samples for one in rounds)
    share = driven / (driven + sum(job.samples for job in jobs))
    widest = max(len(one.jobs) for one in rounds)
    print(f"{len(rounds)} rounds of {len(jobs)} jobs, {widest} at most; {share:.0%} of all samples "
          "go through the driver's denoiser\n")  # fmt: skip
    print("| parameters | " + " | ".join(f"{count} GPU" for count in CLUSTERS)
          + " | the driver alone | weights sent to 512 |")  # fmt: skip
    print("|---" * (len(CLUSTERS) + 3) + "|")
    for billions in BILLIONS:
        each = 2 * billions * 1e9 * TOKENS / GPU.flops  # seconds of a sample through the denoiser
        weights = 2 * billions * 1e9  # bytes
        back = PER_JOB * (LATENTS + PICTURE)
        gives = GPU.gives + back / GPU.network + back / GPU.compares
        begins = GPU.begins + 2 * weights / GPU.network  # to the node, and to the GPU
        paid = [
            Round(_on(each, one.driver), tuple(_on(each, job) for job in one.jobs))
            for one in rounds
        ]
        # A GPU each, the driver's among them, so that nobody shares one.
        spent = [
            simulated(each * before.samples, paid, Cluster(count, count + 1, begins, gives))
            for count in CLUSTERS
        ]
        shares = [one.alone / one.seconds for one in spent]
        hours = " | ".join(f"{one.seconds / 3600:.2f} h" for one in spent)
        sent = -(-CLUSTERS[-1] // 8) * weights / 1e9
        print(f"| {billions} B | {hours} | {min(shares):.0%} to {max(shares):.0%} | "
              f"{sent:.0f} GB |")  # fmt: skip


def _on(each: float, work: Work) -> Work:
    return Work(each * work.samples, work.samples)


def main() -> None:
    """Check or print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["check", "trace", "table"])
    parser.add_argument("--model", default="digits", help="of which a search is traced")
    options = parser.parse_args()
    if options.what == "table":
        table()
    else:
        {"check": check, "trace": trace}[options.what](options.model)


if __name__ == "__main__":
    main()
