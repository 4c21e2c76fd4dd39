"""What the process that draws answers with: texts, HTML, pictures, nothing of a pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL.Image import Image

__all__ = ["Drawn", "Fields", "Found"]


@dataclass(frozen=True)
class Fields:
    """What a model has for the fields of the page.

    Attributes:
        models: that can be chosen.
        prompt: to begin with; None if the model takes none.
        steps: of the full run.
        guidance: that suits; empty for the pipeline's default, None if it takes none.
        solvers, ways, policies: to choose from.
        chosen: of the ways, to begin with.
    """

    models: Sequence[str]
    prompt: str | None
    steps: int
    guidance: str | None
    solvers: Sequence[str]
    ways: Sequence[str]
    chosen: Sequence[str]
    policies: Sequence[str]


@dataclass(frozen=True)
class Drawn:
    """How far a comparison is.

    Attributes:
        status, cards: HTML; None for what stays as it is.
        pictures: by name, the full run first, large; empty before the end.
    """

    status: str
    cards: str | None = None
    pictures: Mapping[str, Image] | None = None


@dataclass(frozen=True)
class Found:
    """How far a search is.

    Attributes:
        status, plot, found: HTML; None for what stays as it is.
        code: the lines that draw with what was found; None before the end.
    """

    status: str
    plot: str | None = None
    found: str | None = None
    code: str | None = None
