"""Where samples are drawn: in this process, or by several.

An engine is a function from jobs to their samples, in order. That is all a search knows of it, so
a cluster serves as well.
"""

import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import torch

from frdiff.search.subject import Batch, Drawn, Subject
from frdiff.setting import Setting

__all__ = ["Engine", "Job", "engine_of"]

Job = tuple[Setting, Batch]
Engine = Callable[[Sequence[Job]], Iterable[Drawn]]


@contextmanager
def engine_of(subject: Subject, workers: int = 1) -> Iterator[Engine]:
    """An engine with a subject, on as many processes.

    Every process computes with as many threads as this one, so that the samples are the same
    whoever draws them: give them one each with `torch.set_num_threads(1)` beforehand.

    Raises:
        ValueError: the subject cannot be sent to another process.
    """
    if workers == 1:
        yield lambda jobs: (subject.drawn(*job) for job in jobs)
        return
    try:
        sent = pickle.dumps(subject)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"this cannot be sent to other processes ({error}); use workers=1, or define your "
            "loop as a function at the top level of a module"
        ) from error
    context = torch.multiprocessing.get_context("spawn")
    arguments = sent, torch.get_num_threads()
    with ProcessPoolExecutor(workers, context, _Worker.begin, arguments) as pool:
        yield lambda jobs: pool.map(_Worker.draw, jobs)


class _Worker:
    """What a process holds between its jobs."""

    subject: Subject

    @classmethod
    def begin(cls, sent: bytes, threads: int) -> None:
        # Ctrl-C reaches all processes of a terminal; only the one that gave the jobs answers it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(threads)
        cls.subject = pickle.loads(sent)  # our own bytes, never a file

    @classmethod
    def draw(cls, job: Job) -> Drawn:
        return cls.subject.drawn(*job)
