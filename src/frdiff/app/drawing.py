"""The process that draws, apart from the one that serves.

Each imports what it needs (torch and diffusers, gradio) on a core of its own, the page answers
while pictures are drawn, and what serves them costs their seconds nothing.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing.managers import SyncManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["drawn_elsewhere"]


class _Room:
    """What the process that draws has from the first: it imports nothing before it is asked to."""

    def __init__(self) -> None:
        self._desk: Desk | None = None

    def open(self, model: str, device: str) -> None:
        """Import what draws, open the model and warm it up.

        Raises:
            ValueError: no such model or device.
        """
        from frdiff.app.desk import Desk
        from frdiff.app.studio import Studio

        self._desk = Desk(Studio(model, device))
        self._desk.opened(model)

    def desk(self) -> "Desk":
        """Where buttons are answered."""
        assert self._desk is not None
        return self._desk


class _Drawing(SyncManager):
    """Runs in the other process, and answers each thread of this one in a thread of its own."""


_Drawing.register(
    "Desk",
    exposed=("compare", "fields", "inspect", "leave", "search", "stop"),
    method_to_typeid={"compare": "Iterator", "search": "Iterator"},
    create_method=False,
)
_Drawing.register("Room", _Room, exposed=("open", "desk"), method_to_typeid={"desk": "Desk"})


@contextmanager
def drawn_elsewhere(model: str, device: str) -> Iterator["Future[Desk]"]:
    """The desk of another process, as soon as its model is open and warm.

    The process ends with this, and with the one that asked for it, however that ends.

    Args:
        model: a shipped model, or a folder of a diffusers pipeline.
        device: where to run. The future has the error if there is no such device, or if the model
            cannot be opened.
    """
    manager = _Drawing(ctx=multiprocessing.get_context("spawn"))
    manager.start(_end_with_parent)
    desk: Future[Desk] = Future()
    threading.Thread(target=_open, args=(manager, model, device, desk), daemon=True).start()
    try:
        yield desk
    finally:
        manager.shutdown()


def _open(manager: Any, model: str, device: str, desk: "Future[Desk]") -> None:
    try:
        room = manager.Room()
        room.open(model, device)
        desk.set_result(room.desk())
    except BaseException as error:
        desk.set_exception(error)


def _end_with_parent() -> None:
    """See to it that this process ends when the one that started it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
