"""Who draws when: one at a time on the machine, and every one can be stopped.

Drawing at the same time would mix nobody's features, for every draw has its pipeline for itself,
but seconds measured so would say nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Event

from diffusers import DiffusionPipeline

from frdiff.network.denoisers import find_denoisers

__all__ = ["Lease", "Pace", "Stopped", "Turns", "watched"]

GLANCE = 0.2  # seconds between looks at whether somebody who waits was stopped


class Stopped(BaseException):
    """Somebody asked to stop. No `Exception`: nobody on the way is to take it for a failure."""


class Turns:
    """A line that everybody who draws stands in, first come, first served.

    Args:
        share: seconds of a long turn after which others may go first.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._line: list[object] = []
        self._moved = Condition()

    @property
    def waiting(self) -> int:
        """How many stand in the line, whoever draws included."""
        return len(self._line)

    @contextmanager
    def taken(self, stop: Callable[[], bool]) -> Iterator["Pace"]:
        """A turn, as soon as all who came before are done.

        Args:
            stop: whether to give up.

        Raises:
            Stopped: while waiting.
        """
        pace = Pace(self, stop)
        pace.enter()
        try:
            yield pace
        finally:
            pace.leave()


class Pace:
    """What is done before every denoiser call of a turn: stop if asked to, or let others go first.

    Args:
        turns: the line.
        stop: whether somebody asked to stop.
    """

    def __init__(self, turns: Turns, stop: Callable[[], bool]) -> None:
        self._turns = turns
        self._stop = stop
        self._held = False
        self._since = 0.0

    def enter(self) -> None:
        """Stand at the end of the line and return when it is one's turn."""
        line, moved = self._turns._line, self._turns._moved
        with moved:
            line.append(self)
            try:
                while line[0] is not self:
                    self.check()
                    moved.wait(GLANCE)
                self.check()
                self._since = time.monotonic()
            except BaseException:
                self.leave()
                raise

    def leave(self) -> None:
        """Let the next have the turn; harmless when done before."""
        line, moved = self._turns._line, self._turns._moved
        with moved:
            if self in line:
                line.remove(self)
            moved.notify_all()

    def check(self) -> None:
        """Raise `Stopped` if somebody asked to stop."""
        if self._stop():
            raise Stopped

    def __call__(self) -> None:
        self.check()
        if self._held or self._turns.waiting < 2:
            return
        if time.monotonic() - self._since >= self._turns.share:
            self.leave()
            self.enter()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the turn while this lasts, for seconds are measured."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before


@contextmanager
def watched(pipe: DiffusionPipeline, pace: Pace) -> Iterator[None]:
    """Call `pace` before every call of a denoiser of the pipeline while this lasts."""
    handles = [
        denoiser.register_forward_pre_hook(lambda module, args: pace())
        for denoiser in find_denoisers(pipe).values()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Lease:
    """Whether somebody still looks on, and has not asked to stop.

    Attributes:
        asked: set by whoever wants to stop.
        patience: seconds without a look after which nobody is taken to be there.
    """

    def __init__(self, patience: float = float("inf")) -> None:
        self.asked = Event()
        self.patience = patience
        self._seen = time.monotonic()

    def look(self) -> None:
        """Say that somebody is there."""
        self._seen = time.monotonic()

    def __call__(self) -> bool:
        return self.asked.is_set() or time.monotonic() - self._seen > self.patience
