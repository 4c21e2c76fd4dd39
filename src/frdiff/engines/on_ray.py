"""Jobs done by the actors of a Ray cluster.

Ray starts a worker again where it was killed or its node is lost, and gives it the job again; what
is left here is to say what is asked for, to keep the order, and to name what fails for good.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from frdiff.engines.engine import Engine, Place, WorkError

__all__ = ["ray_engine"]

TRIES = 3  # of one job, whose worker may die of it


class _Actor:
    """What a worker holds between its jobs."""

    def __init__(self, kept: list[Any], threads: int, path: list[str]) -> None:
        import ray

        sys.path += [place for place in path if place not in sys.path]
        torch.set_num_threads(threads)
        (sent,) = kept
        self.work = ray.cloudpickle.loads(ray.get(sent))  # our own bytes, never a file

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
        ray.init(place.address, include_dashboard=False, log_to_driver=False)
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
            max_task_retries=TRIES,
        )
        threads = torch.get_num_threads()
        actors = [kind.remote(kept, threads, sys.path) for _ in range(place.workers)]
        yield lambda jobs: _results(actors, jobs)
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


def _results(actors: Sequence[Any], jobs: Sequence[Any]) -> Iterator[Any]:
    from ray.exceptions import RayError, RayTaskError
    from ray.util import ActorPool

    pool = ActorPool(actors)
    done = 0
    try:
        for result in pool.map(lambda actor, job: actor.do.remote(job), jobs):
            yield result
            done += 1
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        raise WorkError(
            f"job {done + 1} of {len(jobs)} failed: {type(cause).__name__}: {cause}"
        ) from error
    except RayError as error:
        raise WorkError(
            f"no worker was left to do job {done + 1} of {len(jobs)}, which was tried "
            f"{TRIES + 1} times: {type(error).__name__}: {error}"
        ) from error
