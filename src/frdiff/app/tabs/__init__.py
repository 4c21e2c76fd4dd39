"""The tabs of the page, and what they share: how a model fills their fields, how refusals are said.

They display what the modules beside this folder return, which know nothing of gradio.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradio.components import Component

from frdiff.app.wording import message

if TYPE_CHECKING:
    from frdiff.app.studio import Opened

__all__ = ["Tab", "refusals"]

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
