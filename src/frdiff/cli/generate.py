"""`frdiff generate`: pictures with a policy, alone or side by side with the full pipeline."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from diffusers import DiffusionPipeline
from rich import box
from rich.table import Table

from frdiff.cli.shared import (
    MIB,
    AsJson,
    Device,
    Guidance,
    Model,
    SchedulerName,
    Seed,
    Steps,
    TargetOption,
    err,
    num_steps_of,
    open_model,
    out,
    parsed_targets,
    print_json,
    progress,
)
from frdiff.compare import Contender, Outcome, compare, draw_grid
from frdiff.policy import JumpPolicy, Policy, UniformPolicy, load_policy
from frdiff.sampling import sample, set_scheduler
from frdiff.setting import Setting

PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy file.")]
Interval = Annotated[int, typer.Option(help="Keyframes every so many steps; larger is faster.")]
Bias = Annotated[float, typer.Option(help="Where mixing turns from jumps to reuse, 0 to 1.")]
Tau = Annotated[float, typer.Option(help="Steepness of the mixing ramp.")]
Mixing = Annotated[bool, typer.Option(help="Mix earlier scores in, as the paper does.")]
Align = Annotated[
    str, typer.Option(help="Count keyframes from the start, or from the end: the last step back.")
]
SchedulerOption = Annotated[
    SchedulerName | None,
    typer.Option("--scheduler", help="Default: a tuned policy's, or the model's own."),
]

# Options that say nothing to jumps.
FEATURES = ("policy", "bias", "tau", "mixing", "targets", "align")


def generate(
    context: typer.Context,
    model: Model,
    prompts: Annotated[list[str], typer.Argument(help="One picture each.")],
    policy: PolicyFile = None,
    interval: Interval = 2,
    bias: Bias = 0.5,
    tau: Tau = 30.0,
    mixing: Mixing = True,
    forecast: Annotated[
        int | None, typer.Option(help="0 copies, 1 extrapolates, 2 quadratically.")
    ] = None,
    targets: TargetOption = "paper",
    align: Align = "start",
    jumps: Annotated[
        bool, typer.Option("--jumps", help="Jumps alone: extrapolate scores, reuse no features.")
    ] = False,
    crowding: Annotated[
        float, typer.Option(help="With --jumps: how keyframes crowd towards the end, 1 to 10.")
    ] = 1.0,
    steps: Steps = None,
    scheduler: SchedulerOption = None,
    guidance: Guidance = None,
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
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Draw pictures with a policy; with --compare, side by side with the full pipeline."""
    sources = [context.get_parameter_source(name) for name in FEATURES]
    if jumps and any(source and source.name == "COMMANDLINE" for source in sources):
        raise ValueError("--jumps goes with --interval, --crowding and --forecast alone")
    if crowding != 1 and not jumps:
        raise ValueError("--crowding goes with --jumps")
    chosen: Policy
    if policy is not None:
        chosen = load_policy(policy)
    elif jumps:
        chosen = JumpPolicy(interval, crowding, 1 if forecast is None else forecast)
    else:
        chosen = UniformPolicy(
            interval, bias, tau, mixing, forecast or 0, parsed_targets(targets), align=align
        )
    num_steps = num_steps_of(chosen, steps)
    if (paper or converged) and not compare_:
        raise ValueError("--paper and --converged go with --compare")
    pipe = open_model(model, device)
    if scheduler is not None:
        set_scheduler(pipe, scheduler.value)
    solver = chosen.origin.solver if chosen.origin and scheduler is None else None
    setting = Setting(num_steps, chosen, solver)
    output.mkdir(parents=True, exist_ok=True)
    if not compare_:
        with err.status("drawing"), setting.attached(pipe) as run:
            if run is None:
                raise ValueError("a picture drawn with a policy has a run")
            images = sample(pipe, prompts, steps=num_steps, seed=seed, guidance=guidance)
            path = output / "pictures.png"
            draw_grid([("", images)], prompts).save(path)
            stats = dataclasses.asdict(run.stats) | {"macs_ratio": run.stats.macs_ratio}
        print_json({"picture": str(path), **stats}) if as_json else out.print(
            f"{run.stats}\n{path}", soft_wrap=True, markup=False
        )
        return

    full_steps = _full_steps(chosen, num_steps)
    contenders = [
        Contender("full", full_steps),
        Contender("frdiff", num_steps, chosen, solver),
        Contender("fewer steps", _passes(pipe, setting, prompts[:1], seed, guidance), None, solver),
    ]
    if paper:
        contenders.append(Contender("paper", full_steps, UniformPolicy(interval)))
    with progress() as bar:
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
        print_json({"picture": str(path), "rows": rows})
    else:
        title = f"{len(prompts)} pictures, {type(pipe.scheduler).__name__}"
        if solver is not None:
            title += f"; frdiff and fewer steps: {solver}"
        out.print(_comparison_table(outcomes, title))
        out.print(str(path), soft_wrap=True, markup=False)


def _full_steps(policy: Policy, num_steps: int) -> int:
    """Steps of the full run: those that a policy was tuned from, or as many as its own."""
    figures = {} if policy.origin is None else policy.origin.figures
    return round(figures.get("full_steps", num_steps))


def _passes(
    pipe: DiffusionPipeline,
    setting: Setting,
    prompts: Sequence[str],
    seed: int,
    guidance: float | None,
) -> int:
    """How many full steps have about as many MACs as a setting."""
    with err.status("counting the cost"), setting.attached(pipe) as run:
        sample(pipe, prompts, steps=setting.steps, seed=seed, guidance=guidance)
        ratio = None if run is None else run.stats.macs_ratio
    if ratio is None:
        raise ValueError("--compare needs MACs, which cannot be counted for this denoiser")
    return max(1, round(ratio * setting.steps))


def _caption(outcome: Outcome) -> str:
    lines = [outcome.name, f"{outcome.steps} steps, {outcome.seconds:.2f} s"]
    quality = outcome.psnr if outcome.psnr_converged is None else outcome.psnr_converged
    lines.append(f"{outcome.speedup:.2f}x, {quality:.1f} dB")
    return "\n".join(lines)


def _comparison_table(outcomes: list[Outcome], title: str) -> Table:
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
