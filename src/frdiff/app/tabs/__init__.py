"""The tabs of the page, and what they share: how a model fills their fields, how refusals are said.

They display what the modules beside this folder return, which know nothing of gradio.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from frdiff.app.wording import message

if TYPE_CHECKING:
    from frdiff.app.studio import Opened, Studio

__all__ = ["Tab", "cancels", "guidance_field", "refusals"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
        parts: the fields that depend on the model.
        suit: what they are to be for a model, one update each.
    """

    parts: list[Component]
    suit: "Callable[[Opened], list[Any]]"


def guidance_field(opened: "Opened") -> Any:
    """What a field for a guidance scale is to be for a model."""
    return gr.update(
        value="" if opened.guidance is None else f"{opened.guidance:g}",
        label="guidance" if opened.takes_guidance else "guidance (none)",
        interactive=opened.takes_guidance,
    )


def cancels(button: gr.Button, status: gr.HTML, studio: "Future[Studio]", work: str) -> None:
    """Let a button stop some work of whoever presses it; the status says if nothing runs."""

    def stop(request: gr.Request) -> Any:
        # What runs says itself that it has stopped.
        ran = studio.done() and studio.result().stop(str(request.session_hash), work)
        return gr.skip() if ran else message("nothing runs")

    button.click(stop, None, status, queue=False, show_progress="hidden")


@contextmanager
def refusals() -> Iterator[list[str]]:
    """Gathers the message of what is raised while this lasts, for the page; none if nothing is.

    What a user can mend is said as it is. The traceback of anything else goes to the log.
    """
    from frdiff.app.turns import Stopped

    said: list[str] = []
    try:
        yield said
    except Stopped:
        said.append(message("stopped; what was drawn before stays"))
    except (ValueError, TypeError, MemoryError, OSError) as error:
        said.append(message(" ".join(str(error).split()), wrong=True))
    except Exception as error:  # what a model's own code may raise
        logger.exception("a request failed")
        said.append(message(f"this failed: {type(error).__name__}: {error}", wrong=True))
