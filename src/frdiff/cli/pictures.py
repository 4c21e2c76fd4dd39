"""Pictures of a file of prompts, and what came of them."""

from dataclasses import asdict
from pathlib import Path

import typer

from frdiff.cli.shared import err, on_workers, out, pictures_in_words, print_json, progress
from frdiff.engines import Place
from frdiff.pictures import Painter, draw_all, read_prompts

__all__ = ["draw_file"]


def draw_file(
    painter: Painter,
    prompts: Path,
    output: Path,
    batch: int,
    place: Place,
    resume: bool,
    as_json: bool,
) -> None:
    """Draw what is not there yet, and print how fast; see `frdiff.pictures.draw_all`.

    Raises:
        typer.Exit: 1 where pictures could not be drawn; which, and why, is said.
    """
    total = sum(1 for _ in read_prompts(prompts))  # which also looks at all of them
    on = on_workers(place.workers)
    with progress(f"drawing{on}") as show:

        def on_batch(done: int, there: int) -> None:
            show(f"drawing{on}, {there} were there", done + there, total)

        report = draw_all(
            painter, prompts, output, batch=batch, place=place, verify=resume, on_batch=on_batch
        )
    if as_json:
        print_json({"folder": str(output), "rate": report.rate, **asdict(report)})
    else:
        drawn = sum(report.drawn.values())
        out.print(
            f"{pictures_in_words(drawn)} drawn, {report.there} were there; {report.seconds:.1f} s, "
            f"{report.rate:.2f} pictures per second",
            highlight=False,
        )
        for worker, count in sorted(report.drawn.items()):
            each = count / report.seconds
            out.print(f"  {worker}: {count}, {each:.2f} per second", highlight=False)
        out.print(str(output), soft_wrap=True, markup=False)
    for line, failure in report.failures.items():
        err.print(f"lines from {line} on failed: {failure}", soft_wrap=True, markup=False)
    if report.failures:
        raise typer.Exit(1)
