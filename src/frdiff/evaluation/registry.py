"""What the bench knows of a method of others."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

__all__ = ["Attach", "Calibrate", "Peer"]

Attach = Callable[..., AbstractContextManager[Any]]
Calibrate = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Peer:
    """A method of others.

    Attributes:
        package: on PyPI; None for one that is written here.
        module: that it needs, as it is imported.
        denoisers: class names that it supports, by its documentation and by trial; None for any.
        attach: pipe, steps and options -> context manager.
        calibrate: subject, steps, calibration batches and options -> what `attach` gets in place
            of the options; None where it gets the options.
    """

    package: str | None
    module: str
    denoisers: tuple[str, ...] | None
    attach: Attach
    calibrate: Calibrate | None = None
