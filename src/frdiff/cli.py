"""The command line: `frdiff generate`, `inspect`, `bench` and `report`."""

import dataclasses
import importlib
import json
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import diffusers
import transformers
import typer
from diffusers import DiffusionPipeline
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from frdiff.compare import Contender, Outcome, compare, draw_grid
from frdiff.cost import CallCost, first_call_cost
from frdiff.models import open_pipeline
from frdiff.plan import Plan
from frdiff.policy import TARGET_SETS, Policy, UniformPolicy, load_policy
from frdiff.run import apply
from frdiff.sampling import SCHEDULERS, sample, set_scheduler

__all__ = ["app", "main"]

MIB = 2**20
out = Console()
err = Console(stderr=True)


class _OneLineErrors(TyperGroup):
    """Turns errors of the library into one line and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, typer.Exit | typer.Abort):
                raise
            text = escape(" ".join(str(error).split()))
            err.print(f"[bold red]error:[/] {text}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    help="Diffusion pipelines faster without retraining, by reusing features between steps.",
)
SchedulerName = StrEnum("SchedulerName", list(SCHEDULERS))  # type: ignore[misc]

Model = Annotated[str, typer.Argument(help="A shipped model (emoji), a folder or a hub id.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy file.")]
Interval = Annotated[int, typer.Option(help="Keyframes every so many steps; larger is faster.")]
Bias = Annotated[float, typer.Option(help="Where mixing turns from jumps to reuse, 0 to 1.")]
Tau = Annotated[float, typer.Option(help="Steepness of the mixing ramp.")]
Mixing = Annotated[bool, typer.Option(help="Mix earlier scores in, as the paper does.")]
Forecast = Annotated[int, typer.Option(help="0 copies features, 1 extrapolates, 2 quadratically.")]
TargetOption = Annotated[
    str, typer.Option("--targets", help='"paper", "residual", "all", or wildcards with commas.')
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of the run; default 25, or the policy's.")
]
Seed = Annotated[int, typer.Option(help="Picture i is drawn from seed + i.")]
SchedulerOption = Annotated[
    SchedulerName | None, typer.Option("--scheduler", help="Default: the model's own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def generate(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(help="One picture each.")],
    policy: PolicyFile = None,
    interval: Interval = 2,
    bias: Bias = 0.5,
    tau: Tau = 30.0,
    mixing: Mixing = True,
    forecast: Forecast = 0,
    targets: TargetOption = "paper",
    steps: Steps = None,
    scheduler: SchedulerOption = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    seed: Seed = 0,
    compare_: Annotated[
        bool,
        typer.Option("--compare", help="Draw in full and with fewer steps at the same cost, too."),
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="With --compare: the paper's policy beside it.")
    ] = False,
    repeats: Annotated[int, typer.Option(help="With --compare: timing rounds.")] = 3,
    converged: Annotated[
        int | None,
        typer.Option(min=1, help="With --compare: steps that count as converged, as a reference."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the PNGs.")] = Path("outputs"),
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda, mps.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Draw pictures with a policy; with --compare, side by side with the full pipeline."""
    chosen = _policy(policy, interval, bias, tau, mixing, forecast, targets)
    num_steps = _num_steps(chosen, steps)
    if (paper or converged) and not compare_:
        raise ValueError("--paper and --converged go with --compare")
    pipe = _open(model, device)
    if scheduler is not None:
        set_scheduler(pipe, scheduler.value)
    output.mkdir(parents=True, exist_ok=True)
    if not compare_:
        with err.status("drawing"), apply(pipe, chosen) as run:
            images = sample(pipe, prompts, steps=num_steps, seed=seed, guidance=guidance)
            path = output / "pictures.png"
            draw_grid([("", images)], prompts).save(path)
            stats = dataclasses.asdict(run.stats) | {"macs_ratio": run.stats.macs_ratio}
        _print_json({"picture": str(path), **stats}) if as_json else out.print(
            f"{run.stats}\n{path}", soft_wrap=True, markup=False
        )
        return

    full = Contender("full", num_steps)
    contenders = [full, Contender("frdiff", num_steps, chosen)]
    with err.status("counting the cost"), apply(pipe, chosen) as run:
        sample(pipe, prompts[:1], steps=num_steps, seed=seed, guidance=guidance)
        ratio = run.stats.macs_ratio
    if ratio is None:
        raise ValueError("--compare needs MACs, which cannot be counted for this denoiser")
    passes = max(1, round(ratio * num_steps))
    contenders.append(Contender("fewer steps", passes))
    if paper:
        contenders.append(Contender("paper", num_steps, UniformPolicy(interval)))
    with _progress() as bar:
        task = bar.add_task("drawing in turns", total=repeats * len(contenders))
        outcomes = compare(
            pipe,
            contenders,
            prompts,
            seed=seed,
            guidance=guidance,
            repeats=repeats,
            converged=converged,
            on_call=lambda: bar.advance(task),
        )
    path = output / "side_by_side.png"
    draw_grid([(_caption(outcome), outcome.images) for outcome in outcomes], prompts).save(path)
    rows = [outcome.row() for outcome in outcomes]
    (output / "table.json").write_text(
        json.dumps(rows, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    if as_json:
        _print_json({"picture": str(path), "rows": rows})
    else:
        out.print(_comparison_table(outcomes, type(pipe.scheduler).__name__))
        out.print(str(path), soft_wrap=True, markup=False)


@app.command()
def inspect(
    subject: Annotated[str, typer.Argument(help="A model as in generate, or a policy file.")],
    targets: TargetOption = "all",
    forecast: Forecast = 1,
    steps: Steps = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's targets with their costs, or a policy's table step by step."""
    if subject.endswith(".json"):
        policy = load_policy(subject)
        plan = policy.plan(_num_steps(policy, steps))
        if as_json:
            _print_json({"policy": policy.to_dict(), "plan": _plan_rows(plan)})
        else:
            out.print(_plan_table(plan, escape(Path(subject).name)))
            out.print(str(policy), soft_wrap=True, markup=False)
        return
    pipe = _open(subject, "cpu")
    with err.status("counting"):
        policy = UniformPolicy(2, forecast=forecast, targets=_targets(targets))
        costs = first_call_cost(pipe, policy)
    if as_json:
        _print_json({name: _cost_dict(cost) for name, cost in costs.items()})
        return
    for name, cost in costs.items():
        out.print(_cost_table(name, cost))
        bank = cost.feature_bytes * (forecast + 1) / MIB
        out.print(
            f"full step {cost.macs / 1e9:.3f} GMACs, reuse step {cost.reuse_macs / 1e9:.3f}: reuse "
            f"ratio {cost.reuse_ratio:.3f}; bank {bank:.2f} MiB with forecast {forecast}"
        )


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A shipped model: emoji, emoji-dit or digits.")],
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("results"),
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure the peers that are installed, too.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All settings and distribution metrics: hours.")
    ] = False,
    budget_minutes: Annotated[
        float | None, typer.Option(help="Begin nothing new after so long.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=16, help="Pictures per setting.")] = 64,
    samples: Annotated[int, typer.Option(min=64, help="With --all: for distributions.")] = 1000,
    seed: Seed = 0,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; default: what looks best.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda, mps.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure every method side by side; what is measured already is skipped."""
    session = _extra("frdiff.bench.session")
    budget = None if budget_minutes is None else 60 * budget_minutes
    pipe = _open(model, device)
    with _progress() as bar:
        task = bar.add_task("", total=None)
        left = session.bench_model(
            model,
            pipe,
            results,
            session.Extent(peers, everything, pictures, samples, seed, guidance, budget),
            lambda line, done, total: bar.update(
                task, description=escape(line), completed=done, total=total
            ),
        )
    if as_json:
        _print_json({"results": str(results), "left": left})
    else:
        rest = f"; {left} settings left for the next run" if left else ""
        out.print(f"results in {results}{rest}", soft_wrap=True, markup=False)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of the result files.")],
    output: Annotated[Path, typer.Option(help="Folder for the page and its figures.")] = Path(
        "report"
    ),
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page from the results of `frdiff bench`."""
    pages = _extra("frdiff.bench.report")
    with err.status("drawing figures"):
        shown = pages.write_report(results, output)
    for line in shown.errors:
        err.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True, highlight=False)
    page = output / "index.html"
    if as_json:
        _print_json({"page": str(page), "settings": len(shown.fidelities), "errors": shown.errors})
    else:
        out.print(f"{page}: {len(shown.fidelities)} settings", soft_wrap=True, markup=False)


def _extra(module: str) -> Any:
    """A module that needs the `bench` extra.

    Raises:
        ValueError: a package of the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"this command needs {error.name}: pip install 'frdiff[bench]'") from error


def _policy(
    path: Path | None,
    interval: int,
    bias: float,
    tau: float,
    mixing: bool,
    forecast: int,
    targets: str,
) -> Policy:
    if path is not None:
        return load_policy(path)
    return UniformPolicy(interval, bias, tau, mixing, forecast, _targets(targets))


def _targets(text: str) -> str | list[str]:
    return text if text in TARGET_SETS else text.split(",")


def _num_steps(policy: Policy, steps: int | None) -> int:
    """The step count asked for, the policy's own, or 25."""
    return steps if steps is not None else int(getattr(policy, "num_steps", 25))


def _open(model: str, device: str) -> DiffusionPipeline:
    with err.status(f"loading {escape(model)}"):
        return open_pipeline(model).to(device)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeRemainingColumn(), console=err, transient=True)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def _caption(outcome: Outcome) -> str:
    lines = [outcome.name, f"{outcome.steps} steps, {outcome.seconds:.2f} s"]
    quality = outcome.psnr if outcome.psnr_converged is None else outcome.psnr_converged
    lines.append(f"{outcome.speedup:.2f}x, {quality:.1f} dB")
    return "\n".join(lines)


def _comparison_table(outcomes: list[Outcome], scheduler: str) -> Table:
    title = f"{len(outcomes[0].images)} pictures, {scheduler}"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    names = ["", "steps", "seconds", "speed-up", "MACs", "PSNR dB\nto full", "SSIM", "bank\nMiB"]
    if outcomes[0].psnr_converged is not None:
        names.append("PSNR dB to\nconverged")
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for outcome in outcomes:
        bank = outcome.stats.bank_bytes_peak / MIB if outcome.stats else 0.0
        last = outcome.psnr_converged
        table.add_row(
            outcome.name,
            str(outcome.steps),
            f"{outcome.seconds:.2f}",
            f"{outcome.speedup:.2f}x",
            f"{outcome.macs_ratio or 0:.2f}",
            f"{outcome.psnr:.1f}",
            f"{outcome.ssim:.3f}",
            f"{bank:.1f}",
            *([] if last is None else [f"{last:.1f}"]),
        )
    return table


def _plan_rows(plan: Plan) -> list[dict[str, Any]]:
    return [
        {"step": i, "action": str(step.action), "mixing_weight": step.mixing_weight}
        for i, step in enumerate(plan)
    ]


def _plan_table(plan: Plan, title: str) -> Table:
    table = Table("step", "action", "mixing weight", title=f"{title}: {len(plan)} steps")
    for row in _plan_rows(plan):
        table.add_row(str(row["step"]), row["action"], f"{row['mixing_weight']:.3f}")
    return table


def _cost_dict(cost: CallCost) -> dict[str, Any]:
    return dataclasses.asdict(cost) | {"reuse_ratio": cost.reuse_ratio}


def _cost_table(name: str, cost: CallCost) -> Table:
    table = Table("target", title=name)
    for column in ("MMACs", "of all", "left on reuse", "feature KiB"):
        table.add_column(column, justify="right")
    for target in cost.targets:
        table.add_row(
            target.name,
            f"{target.macs / 1e6:.2f}",
            f"{target.macs / cost.macs:.1%}",
            f"{target.reuse_macs / 1e6:.2f}",
            f"{target.feature_bytes / 1024:.1f}",
        )
    return table


def main() -> None:
    """Run the command line."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.showwarning = lambda message, *_: err.print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False
    )
    app()
