"""From a file of prompts to a folder of pictures."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from frdiff.engines import HERE, Place, WorkError, engine_of
from frdiff.pictures.manifest import Manifest, read_prompts
from frdiff.pictures.painter import Batch, Painter

__all__ = ["Report", "draw_all"]

TRIED = 2  # batches per worker that fail before any picture is drawn


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        drawn: pictures by worker.
        there: pictures that were there.
        seconds: for all.
        failures: of batches, by the line of their first prompt.
    """

    drawn: dict[str, int]
    there: int
    seconds: float
    failures: dict[int, str]

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return sum(self.drawn.values()) / self.seconds if self.seconds else 0.0


def draw_all(
    painter: Painter,
    prompts: Path,
    folder: Path,
    *,
    batch: int = 8,
    place: Place = HERE,
    verify: bool = False,
    on_batch: Callable[[int, int], None] = lambda done, there: None,
) -> Report:
    """Draw a picture for every line of a file that has none yet.

    Line i, from 0, gives `{i:08}.png`, drawn from `seed + i` beside the others of its batch; so the
    files are the same, byte for byte, whoever draws them, and however often it was interrupted.
    The file is read as it is needed.

    Args:
        painter: what draws.
        prompts: a file of one prompt a line.
        folder: of the pictures and their manifest.
        batch: prompts drawn together.
        place: where, see `frdiff.engines`.
        verify: draw again what is there with other contents than were written.
        on_batch: called with the pictures drawn, and those that were there.

    Raises:
        ValueError: an empty line; a folder of other pictures; see `engine_of`.
        WorkError: the first batches fail, all of them, or no worker is left.
        OSError: what cannot be written, as where a disk is full; what was, stays.
    """
    manifest = Manifest(folder, {**painter.recipe(), "batch": batch})
    began = time.monotonic()
    drawn: Counter[str] = Counter()
    failures: dict[int, str] = {}
    there = 0

    def wanted() -> Iterator[Batch]:
        nonlocal there
        first, rest = 0, read_prompts(prompts)
        while lines := tuple(islice(rest, batch)):
            has = [manifest.has(first + i, line, verify) for i, line in enumerate(lines)]
            there += sum(has)
            if not all(has):  # all of it again, since what is drawn together hangs together
                yield Batch(first, lines)
            first += len(lines)

    with engine_of(painter, place) as engine:
        for _, painted in engine(wanted()):
            if painted.failure is not None:
                failures[painted.batch.first + 1] = painted.failure
                if not drawn and len(failures) >= TRIED * place.workers:
                    raise WorkError(f"no picture can be drawn: {painted.failure}")
                continue
            rows = zip(painted.batch.prompts, painted.pictures, strict=True)
            for number, (prompt, png) in enumerate(rows, painted.batch.first):
                if not manifest.has(number, prompt, verify):
                    manifest.add(number, prompt, painter.seed + number, png)
                    drawn[painted.worker] += 1
            on_batch(drawn.total(), there)
    return Report(dict(drawn), there, time.monotonic() - began, failures)
