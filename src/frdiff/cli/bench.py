"""`frdiff bench`, `report` and `analyze`: measurements, and the page that shows them."""

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from frdiff.cli.errors import resumable
from frdiff.cli.shared import (
    Address,
    AsJson,
    Device,
    EngineName,
    Guidance,
    Model,
    Resources,
    Seed,
    Workers,
    check_drawing,
    check_with,
    err,
    on_workers,
    open_model,
    out,
    print_json,
    progress,
)


def bench(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A shipped model: emoji, emoji-dit, emoji-flow or digits.")
    ],
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("results"),
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure the peers that are installed, too.")
    ] = False,
    learnt: Annotated[
        bool,
        typer.Option("--learnt", help="Measure GITS and the learnt solver: minutes a setting."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All settings and distribution metrics: hours.")
    ] = False,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin nothing new after so long.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=16, help="Pictures per setting.")] = 64,
    samples: Annotated[int, typer.Option(min=64, help="With --all: for distributions.")] = 1000,
    inception: Annotated[
        bool, typer.Option("--inception", help="With --all: Fréchet distance on Inception, too.")
    ] = False,
    seed: Seed = 0,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; default: what looks best.")
    ] = None,
    workers: Workers = 1,
    engine: EngineName = "local",
    resources_per_worker: Resources = None,
    address: Address = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure every method side by side; what is measured already is skipped."""
    if not everything:
        check_with(context, ["samples", "inception"], "--all")
    session = _extra("frdiff.evaluation.session")
    from frdiff.engines import Place
    from frdiff.models import shipped_folder

    shipped_folder(model)
    place = Place(engine, workers, resources_per_worker or {}, address)
    extent = session.Extent(
        peers,
        learnt,
        everything,
        pictures,
        samples,
        seed,
        guidance,
        inception,
        None if budget_minutes is None else 60 * budget_minutes,
    )
    with resumable(context, results):
        pipe = open_model(model, device)
        check_drawing(pipe, (), guidance)
        with progress(f"measuring{on_workers(workers)}") as show:
            left = session.bench_model(
                model,
                pipe,
                results,
                extent,
                lambda line, done, total: show(f"{line}{on_workers(workers)}", done, total),
                place,
            )
    if as_json:
        print_json({"results": str(results), "left": left})
    else:
        rest = f"; {left} settings left for the next run" if left else ""
        out.print(f"results in {results}{rest}", soft_wrap=True, markup=False)


def report(
    results: Annotated[Path, typer.Argument(help="Folder of the result files.")],
    output: Annotated[Path, typer.Option(help="Folder for the page and its figures.")] = Path(
        "report"
    ),
    gpu: Annotated[
        Path | None, typer.Option(help="What bench/gpu.py wrote, to stand beside.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page from the results of `frdiff bench`."""
    pages = _extra("frdiff.evaluation.page.report")
    with progress("drawing figures"):
        shown = pages.write_report(results, output, gpu)
    for line in shown.errors:
        err.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True, highlight=False)
    if as_json:
        rows = {
            model: [_standing_dict(row) for row in rows] for model, rows in shown.groups.items()
        }
        print_json(
            {
                "page": str(shown.page),
                "settings": shown.settings,
                "groups": rows,
                "errors": shown.errors,
            }
        )
        return
    for model, rows in shown.groups.items():
        out.print(_standing_table(model, rows))
    out.print(f"{shown.page}: {shown.settings} settings", soft_wrap=True, markup=False)


def _standing_dict(standing: Any) -> dict[str, Any]:
    best = {
        f"{speedup:g}": row
        and {
            "family": row.result.family,
            "setting": row.result.setting,
            "speedup": row.speedup,
            "psnr": row.psnr,
            "above_fewer_steps": row.above,
        }
        for speedup, row in standing.best.items()
    }
    return {"name": standing.name, "hypervolume": standing.hypervolume, "best": best}


def _standing_table(model: str, standings: list[Any]) -> Table:
    """dB above fewer steps at equal time, PSNR and setting, by speed-up."""
    table = Table("", title=f"{model}: dB above fewer steps at equal time (PSNR)")
    for speedup in standings[0].best:
        table.add_column(f"at {speedup:g}x", justify="right")
    for standing in standings:
        cells = [
            "-" if row is None else f"{_signed(row.above)} ({row.psnr:.1f})"
            for row in standing.best.values()
        ]
        table.add_row(standing.name, *cells)
    return table


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"


def analyze(
    model: Model,
    prompts: Annotated[
        list[str] | None, typer.Argument(help="What to draw; default: what the model has learnt.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("results"),
    pictures: Annotated[int, typer.Option(min=1, help="Pictures, drawn in one batch.")] = 8,
    steps: Annotated[int, typer.Option(min=4, help="Steps of the full run.")] = 25,
    seed: Seed = 0,
    guidance: Guidance = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Show why reuse works: how alike features stay, and what each target's reuse costs.

    The pictures lie beside the results of `frdiff bench`, and `frdiff report` shows them.
    """
    analysis, drawing = (
        _extra("frdiff.evaluation.analysis"),
        _extra("frdiff.evaluation.page.analysis_figures"),
    )
    pipe = open_model(model, device)
    drawn = analysis.prompts_for(model, prompts or (), pictures, seed)
    check_drawing(pipe, drawn, guidance)
    with progress("analyzing") as show:
        found = analysis.analyze(
            pipe,
            drawn,
            steps=steps,
            seed=seed,
            guidance=analysis.guidance_for(model, guidance),
            inputs=analysis.inputs_for(model),
            on_event=show,
        )
    paths = drawing.draw_analysis(found, results, Path(model).name)
    if as_json:
        print_json(found.to_dict() | {"pictures": [str(path) for path in paths]})
    else:
        for path, finding in zip(paths, found.findings, strict=True):
            out.print(f"{path}: {finding}", soft_wrap=True, markup=False, highlight=False)


def _extra(module: str) -> Any:
    """A module that needs the `bench` extra.

    Raises:
        ValueError: a package of the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"this command needs {error.name}: pip install 'frdiff[bench]'") from error
