"""Jobs done by several processes of this machine."""

import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from frdiff.engines.engine import Engine, WorkError

__all__ = ["process_engine"]


@contextmanager
def process_engine(work: Callable[[Any], Any], workers: int) -> Iterator[Engine]:
    """An engine of so many processes; see `engine_of`."""
    try:
        sent = pickle.dumps(work)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"this cannot be sent to other processes ({error}); use workers=1, or define your "
            "loop as a function at the top level of a module"
        ) from error
    context = torch.multiprocessing.get_context("spawn")
    arguments = sent, torch.get_num_threads()
    with ProcessPoolExecutor(workers, context, _Process.begin, arguments) as pool:

        def engine(jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            numbered = enumerate(jobs)
            running: dict[Future[Any], int] = {}

            def give(count: int) -> None:
                for number, job in islice(numbered, count):
                    running[pool.submit(_Process.do, job)] = number

            try:
                give(2 * workers)  # one each to do, and one each to go on with
                while running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    give(len(done))
                    for future in done:
                        yield running.pop(future), future.result()
            except BrokenProcessPool as error:
                raise WorkError(
                    "a worker process was killed, perhaps for want of memory; begin again with "
                    "fewer workers: what was done is kept where there is a journal"
                ) from error
            finally:
                for future in running:
                    future.cancel()

        yield engine


class _Process:
    """What a process holds between its jobs."""

    work: Callable[[Any], Any]

    @classmethod
    def begin(cls, sent: bytes, threads: int) -> None:
        # Ctrl-C reaches all processes of a terminal; only the one that gave the jobs answers it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(threads)
        cls.work = pickle.loads(sent)  # our own bytes, never a file

    @classmethod
    def do(cls, job: Any) -> Any:
        return cls.work(job)
