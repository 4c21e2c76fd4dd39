"""`frdiff generate`: pictures with a policy, alone or side by side with the full pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frdiff.cli.shared import (
    Address,
    AsJson,
    Device,
    EngineName,
    Guidance,
    MaxMemory,
    Model,
    Resources,
    Seed,
    Steps,
    TargetOption,
    Workers,
    check_drawing,
    check_with,
    check_without,
    guidance_of,
    known_scheduler,
    num_steps_of,
    open_model,
    parsed_targets,
    policy_of,
)

if TYPE_CHECKING:
    from frdiff.policy import Policy

PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy", help="A file; lossless, high or fast of a shipped model; or as emoji/high."
    ),
]
Interval = Annotated[int, typer.Option(help="Keyframes every so many steps; larger is faster.")]
Bias = Annotated[float, typer.Option(help="Where mixing turns from jumps to reuse, 0 to 1.")]
Tau = Annotated[float, typer.Option(help="Steepness of the mixing ramp.")]
Mixing = Annotated[bool, typer.Option(help="Mix earlier scores in, as the paper does.")]
Align = Annotated[
    str, typer.Option(help="Count keyframes from the start, or from the end: the last step back.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        parser=known_scheduler,
        metavar="NAME",
        help="Such as dpm++, flow-heun-beta; default: a tuned policy's, or the model's own.",
    ),
]

# Options that say what a policy is, those that say nothing to jumps, and those of score mixing.
JUMPS = ("crowding", "checked")
SHAPE = ("interval", "bias", "tau", "mixing", "forecast", "targets", "align", "jumps", *JUMPS)
FEATURES = ("bias", "tau", "mixing", "targets", "align")
RAMP = ("bias", "tau")
# What is said of one picture beside another, and of many from a file.
COMPARED = ("compare_", "paper", "repeats", "converged")
MANY = ("batch", "resume", "workers", "engine", "resources", "address")


def generate(
    context: typer.Context,
    model: Model,
    prompts: Annotated[list[str] | None, typer.Argument(help="One picture each.")] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option("--prompts", help="A file, one prompt a line: one PNG each, and a manifest."),
    ] = None,
    policy: PolicyName = None,
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
    checked: Annotated[
        bool,
        typer.Option("--checked", help="With --jumps: as far as the last keyframe bears them out."),
    ] = False,
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
    repeats: Annotated[int, typer.Option(min=1, help="With --compare: timing rounds.")] = 3,
    converged: Annotated[
        int | None,
        typer.Option(min=1, help="With --compare: steps that count as converged, as a reference."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the PNGs.")] = Path("outputs"),
    batch: Annotated[int, typer.Option(min=1, help="With --prompts: drawn together.")] = 8,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="With --prompts: draw again what has other contents now."),
    ] = False,
    workers: Workers = 1,
    engine: EngineName = "local",
    resources: Resources = None,
    address: Address = None,
    max_memory: MaxMemory = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Draw pictures with a policy; with --compare, side by side with the full pipeline.

    With --prompts FILE as many as the file has lines: one that was interrupted goes on.
    """
    from frdiff.cli import drawing
    from frdiff.cli.pictures import draw_file
    from frdiff.engines import Place
    from frdiff.models import INPUTS
    from frdiff.pictures import Painter
    from frdiff.policy import JumpPolicy, UniformPolicy
    from frdiff.sampling import set_scheduler

    if not mixing:
        check_without(context, RAMP, "--no-mixing", "they shape the mixing")
    if not compare_:
        check_with(context, ["paper", "repeats", "converged"], "--compare")
    chosen: Policy
    if policy is not None:
        # The paper's policy beside it takes an interval of its own.
        said = [name for name in SHAPE if not (paper and name == "interval")]
        check_without(context, said, "--policy", "the file says all of it")
        chosen = policy_of(policy, model)
    elif jumps:
        check_without(context, FEATURES, "--jumps", "no features are reused")
        order = 1 if forecast is None else forecast
        chosen = JumpPolicy(interval, crowding, order, checked=checked)
    else:
        check_with(context, JUMPS, "--jumps")
        chosen = UniformPolicy(
            interval, bias, tau, mixing, forecast or 0, parsed_targets(targets), align=align
        )
    num_steps = num_steps_of(chosen, steps)
    scale = guidance_of(model, guidance, chosen)
    if prompts_file is not None:
        check_without(context, ("prompts", *COMPARED), "--prompts", "the file has them")
        solver = chosen.origin.solver if chosen.origin and scheduler is None else scheduler
        painter = Painter(
            model,
            chosen,
            num_steps,
            solver,
            scale,
            seed,
            INPUTS.get(model, {}),
            max_memory,
            device,
        )
        place = Place(engine, workers, resources or {}, address)
        draw_file(painter, prompts_file, output, batch, place, resume, as_json)
        return
    check_with(context, MANY, "--prompts")
    if not prompts:
        raise ValueError("give prompts, or a file of them with --prompts")
    pipe = open_model(model, device)
    check_drawing(pipe, prompts, guidance)
    if scheduler is not None:
        set_scheduler(pipe, scheduler)
    solver = chosen.origin.solver if chosen.origin and scheduler is None else None
    inputs = INPUTS.get(model, {})
    what = pipe, prompts, num_steps, chosen, solver, scale, seed, output, inputs
    asked = drawing.Order(*what, max_bytes=max_memory)
    output.mkdir(parents=True, exist_ok=True)
    if compare_:
        opponent = interval if paper else None
        drawing.draw_compared(asked, opponent, repeats, converged, as_json)
    else:
        drawing.draw_alone(asked, as_json)
