"""The registry of example calls: one builder per denoiser class, with the size of its calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from frdiff.catalogue.draw import Draw

__all__ = ["CALLS", "Builder", "CallSize", "calls", "entry"]

Builder = Callable[[Any, Draw], dict[str, Any]]


@dataclass(frozen=True)
class CallSize:
    """How large the calls of a family are where its pipelines are used as published.

    Attributes:
        size: height and width of the latents, length of a sound; None is the configuration's
            `sample_size`.
        frames: of the latents.
        words: tokens of the text.
        batch: 2 where the pipeline puts both halves of guidance into one call, else 1.
        at: the same in words.
    """

    size: int | tuple[int, int] | None = None
    frames: int = 1
    words: int = 77
    batch: int = 2
    at: str = ""


CALLS: dict[str, tuple[Builder, CallSize]] = {}


def calls(*class_names: str, **size: Any) -> Callable[[Builder], Builder]:
    """A decorator that makes a function the builder of calls of denoiser classes.

    The function takes a configuration and a `Draw` and returns the arguments by name, the noisy
    sample first.

    Args:
        size: fields of `CallSize`.
    """

    def add(builder: Builder) -> Builder:
        CALLS.update(dict.fromkeys(class_names, (builder, CallSize(**size))))
        return builder

    return add


def entry(denoiser_class: type) -> tuple[Builder, CallSize]:
    """The builder of a class or of the nearest of its bases that has one, and its calls' size.

    Raises:
        ValueError: none has.
    """
    names = [cls.__name__ for cls in denoiser_class.__mro__]
    name = next((name for name in names if name in CALLS), None)
    if name is None:
        raise ValueError(f"no example call for {names[0]}; known: {', '.join(sorted(CALLS))}")
    return CALLS[name]
