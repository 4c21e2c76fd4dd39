"""How far work is, on a console: a bar, or lines where no bar can move."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["Show", "bar", "lines"]

HEARTBEAT = 5.0  # seconds between lines
MINUTE = 60  # seconds


class Show(Protocol):
    """Shows what is done now, and how much of how much is done, in some unit.

    Unless work is not `paced` yet, that is when it does not go on as it did so far, how long the
    rest takes is shown too, as soon as it is known.
    """

    def __call__(
        self,
        doing: str,
        done: float = 0,
        total: float | None = None,
        unit: str = "",
        paced: bool = True,
    ) -> None: ...


@contextmanager
def bar(doing: str, console: Console) -> Iterator[Show]:
    """A bar on a terminal or in a notebook, gone when the work is over.

    Args:
        doing: what is done until something is shown.
    """
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[far]}")
    left = _time_left()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(escape(doing), total=None, far="")

        def show(
            doing: str,
            done: float = 0,
            total: float | None = None,
            unit: str = "",
            paced: bool = True,
        ) -> None:
            far = _far(done, total, unit, left(done, total, paced))
            bars.update(task, description=escape(doing), completed=done, total=total, far=far)

        yield show


@contextmanager
def lines(doing: str, console: Console) -> Iterator[Show]:
    """A line every `HEARTBEAT` seconds, however long what is shown takes.

    Args:
        doing: what is done until something is shown.
    """
    said = doing
    began = time.monotonic()
    left = _time_left()
    over = Event()

    def show(
        doing: str,
        done: float = 0,
        total: float | None = None,
        unit: str = "",
        paced: bool = True,
    ) -> None:
        nonlocal said
        far = _far(done, total, unit, left(done, total, paced))
        said = f"{doing} ({far})" if far else doing

    def speak() -> None:
        while not over.wait(HEARTBEAT):
            line = f"{time.monotonic() - began:.0f} s: {said}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    speaker = Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield show
    finally:
        over.set()
        speaker.join()


def _far(done: float, total: float | None, unit: str, left: str) -> str:
    if total is None:
        return ""
    return f"{done:.0f} of {total:.0f}{unit and f' {unit}'}{left and f', {left}'}"


def _time_left() -> Callable[[float, float | None, bool], str]:
    """What says how long the rest takes, at the pace since work was first paced."""
    first: tuple[float, float] | None = None

    def left(done: float, total: float | None, paced: bool) -> str:
        nonlocal first
        if total is None or not paced:
            return ""
        now = time.monotonic()
        first = first or (now, done)
        began, there = first
        if not there < done < total:
            return ""
        seconds = (now - began) / (done - there) * (total - done)
        if seconds < 2 * MINUTE:
            return f"{seconds:.0f} s left"
        return f"{seconds / MINUTE:.0f} min left"

    return left
