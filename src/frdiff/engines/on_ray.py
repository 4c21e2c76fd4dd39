"""Jobs done by the actors of a Ray cluster.

Ray begins a worker again where it was killed or its node is lost. What is left here is to say what
is asked for, to give the job to another, and to name what fails for good.
"""

import logging
import math
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from frdiff.engines.engine import Engine, Place, WorkError

__all__ = ["ray_engine"]

TRIES = 4  # of one job, whose worker may die of it
PATIENCE = 300.0  # seconds without any worker, before which an autoscaler finds another node
PAUSE = 0.2


class _Actor:
    """What a worker holds between its jobs."""

    def __init__(self, kept: list[Any], threads: int, path: list[str]) -> None:
        import ray

        sys.path += [place for place in path if place not in sys.path]
        torch.set_num_threads(threads)
        (sent,) = kept
        self.work = ray.cloudpickle.loads(ray.get(sent))  # our own bytes, never a file

    def answer(self) -> None:
        """That it is there."""

    def do(self, job: Any) -> Any:
        return self.work(job)


@contextmanager
def ray_engine(work: Callable[[Any], Any], place: Place) -> Iterator[Engine]:
    """An engine of Ray actors; see `engine_of`.

    What jobs are done by is put into the cluster's memory once, for all workers. A cluster that
    this begins ends with the `with` block.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError('engine="ray" needs Ray: pip install "frdiff[ray]"') from error
    begins = not ray.is_initialized()
    if begins:
        # With no address Ray would join whatever cluster somebody else began on this machine.
        address = place.address or (None if "RAY_ADDRESS" in os.environ else "local")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address, include_dashboard=False, **quiet)
    actors: list[Any] = []
    try:
        resources = dict(place.resources_per_worker)
        cpus, gpus = resources.pop("CPU", 1), resources.pop("GPU", 0)
        _check_room(ray.cluster_resources(), place, {"CPU": cpus, "GPU": gpus, **resources})
        kept = [ray.put(_sendable(work))]  # in a list: whoever begins again finds it still there
        kind = ray.remote(_Actor).options(
            num_cpus=cpus,
            num_gpus=gpus,
            resources=resources,
            max_restarts=-1,
        )
        threads = torch.get_num_threads()
        actors = [kind.remote(kept, threads, sys.path) for _ in range(place.workers)]
        yield lambda jobs: _Pool(actors, jobs).results()
    finally:
        for actor in actors:
            ray.kill(actor)
        if begins:
            ray.shutdown()


def _sendable(work: Callable[[Any], Any]) -> bytes:
    from ray import cloudpickle

    try:
        sent: bytes = cloudpickle.dumps(work)
    except Exception as error:  # whatever a user's own objects raise
        raise ValueError(
            f"this cannot be sent to other processes ({error}); use engine='local', or define your "
            "loop as a function at the top level of a module"
        ) from error
    return sent


def _check_room(has: dict[str, float], place: Place, wanted: dict[str, float]) -> None:
    """Refuse what would wait for ever."""
    for name, each in wanted.items():
        if each and has.get(name, 0.0) < each * place.workers - 1e-9:
            most = math.floor(has.get(name, 0.0) / each)
            raise ValueError(
                f"{place.workers} workers with {each:g} {name} each do not fit on this Ray "
                f"cluster, which has {has.get(name, 0.0):g}: ask for {most} at most"
                + (" or for less per worker" if most else "")
            )


class _Pool:
    """Gives jobs to actors, each to one that has just answered; again where that was lost."""

    def __init__(self, actors: Sequence[Any], jobs: Iterable[Any]) -> None:
        self.numbered = enumerate(jobs)
        self.following = next(self.numbered, None)
        self.again: deque[tuple[int, Any]] = deque()
        self.running: dict[Any, tuple[Any, tuple[int, Any]]] = {}
        self.asked = {actor.answer.remote(): actor for actor in actors}
        self.idle: list[Any] = []
        self.tries: Counter[int] = Counter()

    def results(self) -> Iterator[tuple[int, Any]]:
        """As they are done, with the numbers of their jobs."""
        import ray

        heard = time.monotonic()
        while self.running or self.again or self.following is not None:
            ready, _ = ray.wait([*self.running, *self.asked], timeout=PATIENCE / 10)
            for ref in ready:
                found = self._take(ref)
                self._give()
                if found is not None:
                    yield found
            if self.running:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                raise WorkError(
                    f"no worker has answered for {PATIENCE:.0f} s, and there are jobs to do: is "
                    "there a node left with room for one?"
                )

    def _give(self) -> None:
        """Give idle actors what is to be done."""
        while self.idle and (job := self._next()) is not None:
            actor = self.idle.pop()
            self.running[actor.do.remote(job[1])] = actor, job

    def _next(self) -> tuple[int, Any] | None:
        if self.again:
            return self.again.popleft()
        job, self.following = self.following, next(self.numbered, None)
        return job

    def _take(self, ref: Any) -> tuple[int, Any] | None:
        """Take an answer or a result; the latter comes back."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        if ref in self.asked:
            actor = self.asked.pop(ref)
            try:
                ray.get(ref)
            except RayError:
                time.sleep(PAUSE)  # it is being begun again, perhaps on another node
                self.asked[actor.answer.remote()] = actor
            else:
                self.idle.append(actor)
            return None
        actor, job = self.running.pop(ref)
        number = job[0]
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise WorkError(f"job {number + 1} failed: {type(cause).__name__}: {cause}") from error
        except RayError as error:
            self.tries[number] += 1
            if self.tries[number] == TRIES:
                raise WorkError(
                    f"job {number + 1} was tried {TRIES} times, and its worker was lost each "
                    f"time: {type(error).__name__}: {error}"
                ) from error
            self.again.append(job)
            self.asked[actor.answer.remote()] = actor
            return None
        self.idle.append(actor)
        return number, result
