"""Where jobs are done, and the engine for it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from frdiff.policy.checks import check_float, check_int, quote

__all__ = [
    "ENGINES",
    "HERE",
    "Engine",
    "Place",
    "WorkError",
    "engine_of",
    "in_order",
    "local_engine",
]

ENGINES = ("local", "ray")
MOST_WORKERS = 10_000

J = TypeVar("J")
R = TypeVar("R")
Engine = Callable[[Iterable[J]], Iterator[tuple[int, R]]]


class WorkError(RuntimeError):
    """A job cannot be done, or no worker is left to do it; the text has the cause."""


@dataclass(frozen=True)
class Place:
    """Where jobs are done.

    Attributes:
        engine: `"local"`, this process or several of this machine, or `"ray"`.
        workers: that do them.
        resources_per_worker: of Ray's, such as `{"GPU": 1}`; by default one CPU.
        address: of a Ray cluster, such as `"auto"` for the one on this machine; None for that which
            the program is connected to, the one in `RAY_ADDRESS`, or else one of its own.
    """

    engine: str = "local"
    workers: int = 1
    resources_per_worker: Mapping[str, float] = field(default_factory=dict)
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {ENGINES}, got {quote(self.engine)}")
        check_int("workers", self.workers, 1, MOST_WORKERS)
        if self.engine == "local" and (self.resources_per_worker or self.address is not None):
            raise ValueError('resources_per_worker and address go with engine="ray" alone')
        for name, amount in self.resources_per_worker.items():
            check_float(f"resources_per_worker[{name!r}]", amount, 0, 1e6)


HERE = Place()
"""This process."""


@contextmanager
def engine_of(work: Callable[[J], R], place: Place = HERE) -> Iterator[Engine[J, R]]:
    """An engine that does jobs by `work`, as long as the `with` block lasts.

    It takes jobs one by one, as workers are free for them, and gives back the number of a job, from
    0, with its result as soon as there is one, whatever its place; `in_order` sorts them. Every
    worker gets `work` once, and computes with as many threads as this process, so that
    results are the same whoever does a job: `torch.set_num_threads(1)` beforehand gives each one.

    Args:
        work: makes a result of a job. Several workers take what `pickle` can send; what it loads
            when it is first called, each worker loads by itself.

    Raises:
        ValueError: `work` cannot be sent to other processes, or the cluster has no room for so
            many workers.
        ImportError: Ray is asked for and not installed.
        WorkError: from the engine, where a job fails for good.
    """
    if place.engine == "ray":
        from frdiff.engines.on_ray import ray_engine

        with ray_engine(work, place) as engine:
            yield engine
    elif place.workers == 1:
        yield local_engine(work)
    else:
        from frdiff.engines.processes import process_engine

        with process_engine(work, place.workers) as engine:
            yield engine


def local_engine(work: Callable[[J], R]) -> Engine[J, R]:
    """The engine that does one job after another in this process."""
    return lambda jobs: enumerate(map(work, jobs))


def in_order(results: Iterable[tuple[int, R]]) -> Iterator[R]:
    """Numbered results by their numbers, from 0; who comes too early is kept."""
    early: dict[int, R] = {}
    due = 0
    for number, result in results:
        early[number] = result
        while due in early:
            yield early.pop(due)
            due += 1
