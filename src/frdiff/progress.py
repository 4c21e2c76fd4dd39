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
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(escape(doing), total=None, far="")

        def put(doing: str, done: float, total: float | None, far: str) -> None:
            bars.update(task, description=escape(doing), completed=done, total=total, far=far)

        yield _paced(put)


@contextmanager
def lines(doing: str, console: Console) -> Iterator[Show]:
    """A line every `HEARTBEAT` seconds, however long what is shown takes.

    Args:
        doing: what is done until something is shown.
    """
    said = doing
    began = time.monotonic()
    over = Event()

    def put(doing: str, done: float, total: float | None, far: str) -> None:
        nonlocal said
        said = f"{doing} ({far})" if far else doing

    def speak() -> None:
        while not over.wait(HEARTBEAT):
            line = f"{time.monotonic() - began:.0f} s: {said}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    speaker = Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield _paced(put)
    finally:
        over.set()
        speaker.join()


def _paced(put: Callable[[str, float, float | None, str], None]) -> Show:
    """What puts work on a console with how far it is, and how long the rest takes.

    Args:
        put: takes what is done, how much of how much, and both in words.
    """
    first: tuple[float, float] | None = None  # when work was first paced, and what was done

    def show(
        doing: str,
        done: float = 0,
        total: float | None = None,
        unit: str = "",
        paced: bool = True,
    ) -> None:
        nonlocal first
        if total is None:
            put(doing, done, total, "")
            return
        far = f"{done:.0f} of {total:.0f} {unit}".rstrip()
        if paced:
            first = first or (time.monotonic(), done)
            far += _left(first, done, total)
        put(doing, done, total, far)

    return show


def _left(first: tuple[float, float], done: float, total: float) -> str:
    """How long the rest takes at the pace since `first`; nothing while that is not known."""
    began, there = first
    if not there < done < total:
        return ""
    left = (time.monotonic() - began) / (done - there) * (total - done)
    return f", {left:.0f} s left" if left < 2 * MINUTE else f", {left / MINUTE:.0f} min left"
