"""The tabs of the page, and what they share: how a model fills their fields, how work is stopped.

They display what the process that draws answers, see `frdiff.app.desk`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from frdiff.app.answers import Fields
from frdiff.app.wording import message

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["Tab", "cancels", "guidance_field", "or_as_it_is", "unanswered"]


@dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
        parts: the fields that depend on the model.
        suit: what they are to be for a model, one update each.
    """

    parts: list[Component]
    suit: Callable[[Fields], list[Any]]


def guidance_field(fields: Fields) -> Any:
    """What a field for a guidance scale is to be for a model."""
    takes = fields.guidance is not None
    return gr.update(
        value=fields.guidance or "",
        label="guidance" if takes else "guidance (none)",
        interactive=takes,
    )


def or_as_it_is(value: Any) -> Any:
    """A value for a part of the page; None leaves the part as it is."""
    return gr.skip() if value is None else value


def cancels(button: gr.Button, status: gr.HTML, desk: "Future[Desk]", work: str) -> None:
    """Let a button stop some work of whoever presses it; the status says if nothing runs."""

    def stop(request: gr.Request) -> Any:
        # What runs says itself that it has stopped.
        with unanswered() as said:
            if desk.done() and desk.result().stop(str(request.session_hash), work):
                return gr.skip()
        return said[0] if said else message("nothing runs")

    button.click(stop, None, status, queue=False, show_progress="hidden")


@contextmanager
def unanswered() -> Iterator[list[str]]:
    """Gathers the message that the process that draws has ended, for the page; none if it runs."""
    said: list[str] = []
    try:
        yield said
    except (EOFError, ConnectionError, FileNotFoundError):
        text = "what draws has ended, out of memory perhaps; start the app again"
        said.append(message(text, wrong=True))
