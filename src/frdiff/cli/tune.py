"""`frdiff tune`: from a budget to a policy file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from frdiff.choices import METHODS, OVERHEAD, PARETO, VARIABLES
from frdiff.cli.errors import resumable
from frdiff.cli.shared import (
    Address,
    AsJson,
    Device,
    EngineName,
    MaxMemory,
    Model,
    Resources,
    TargetOption,
    Workers,
    check_drawing,
    check_without,
    guidance_of,
    known_scheduler,
    on_workers,
    open_model,
    out,
    parsed_targets,
    print_json,
    progress,
    typed,
)
from frdiff.plan import Action

if TYPE_CHECKING:
    from frdiff.policy import Policy
    from frdiff.search.account import Progress
    from frdiff.search.within import Candidate

# What is asked of a search, and what says nothing to one by gates or without stored features.
ASKED = ("speedup", "budget", "min_psnr", "pareto")
SEARCHED = ("min_psnr", "allow_scheduler", "vary", "evaluations", "tensorboard")
REUSED = ("targets", "overhead")
# What a policy's steps do, and what the parts of a search are that may have found it.
KINDS = (
    (Action.KEYFRAME, "steps in full"),
    (Action.REUSE, "with stored features"),
    (Action.JUMP, "jumps"),
)
FOUND_BY = {
    "fewer steps": "fewer steps of the solver, better than all that was tried",
    "following": "led to where the converged solution passes after every step",
    "shape": "keyframes that crowd evenly",
    "keyframes": "keyframes moved one by one",
    "learning": "its numbers learnt by gradient",
    "gates": "keyframes learnt by gates",
}
# Columns of dB, and the figures in them.
DECIBELS = {
    "searched\non": "calibration_db",
    "held\nout": "held_out_db",
    "fewer steps,\nheld out": "fewer_steps_held_out_db",
    "full run,\nheld out": "full_held_out_db",
}
FEW = 8  # samples, of which dB are a rough guide
FILE, FOLDER = Path("policy.json"), Path("policies")


def scale_or_range(value: str) -> float | tuple[float, float]:
    """A guidance scale, or the two ends of a range as in 2-8."""
    try:
        ends = [float(end) for end in value.split("-")]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2 or (len(ends) == 2 and ends[0] >= ends[1]):
        raise typer.BadParameter(f"give a number such as 7.5, or a range such as 2-8, got {value}")
    return ends[0] if len(ends) == 1 else (ends[0], ends[1])


def tune(
    context: typer.Context,
    model: Model,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(help="What to draw while tuning; default: what a shipped model has learnt."),
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts", help="Or a file of them, one a line, the more varied the better."
        ),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="The full run's cost over the policy's, such as 2.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Or the cost as a share of the full run's, such as 0.5.")
    ] = None,
    min_psnr: Annotated[
        float | None, typer.Option(help="Or the least quality to keep, in dB, as fast as can be.")
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Or one policy for each of several speed-ups.")
    ] = False,
    method: Annotated[
        str,
        typer.Option(help='"search", or "gates": the Auto-FR of the paper.'),
    ] = METHODS[0],
    steps: Annotated[int, typer.Option(min=2, help="Steps of the full run.")] = 25,
    scheduler: Annotated[
        str | None,
        typer.Option(
            parser=known_scheduler,
            metavar="NAME",
            help="Of the full run, such as dpm++ or flow-euler; default: the model's own.",
        ),
    ] = None,
    allow_scheduler: Annotated[
        bool, typer.Option("--allow-scheduler", help="Choose the solver, too, where it is better.")
    ] = False,
    vary: Annotated[
        str,
        typer.Option(
            help=f"What to choose, with commas; default: {', '.join(VARIABLES)}.",
            show_default=False,
        ),
    ] = ",".join(VARIABLES),
    targets: TargetOption = "all",
    overhead: Annotated[
        float | None,
        typer.Option(
            help="Of a reuse step beyond its MACs, as a share of a full step; default: what its "
            f"memory traffic says, at least {OVERHEAD}.",
        ),
    ] = None,
    guidance: Annotated[
        Any,
        typer.Option(
            parser=scale_or_range,
            metavar="SCALE",
            help="Guidance scale, or a range such as 2-8 for one policy that follows it; default: "
            "what suits a shipped model, or the pipeline's.",
        ),
    ] = None,
    quantile: Annotated[
        float, typer.Option(help="Of the samples' quality; below 0.5 minds the worst more.")
    ] = 0.5,
    samples: Annotated[
        int,
        typer.Option(
            help="To search on, and as many kept from it, of prompts by chance; 4 for a first look "
            "in about a quarter of the time."
        ),
    ] = 16,
    evaluations: Annotated[
        int | None,
        typer.Option(help="Policies to measure per budget; default: as 4 full runs take."),
    ] = None,
    latents: Annotated[
        bool, typer.Option("--latents", help="Compare final latents and not pictures.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of noises and proposals.")] = 0,
    workers: Workers = 1,
    engine: EngineName = "local",
    resources: Resources = None,
    address: Address = None,
    max_memory: MaxMemory = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"The policy file; with --pareto a folder. Default: {FILE}, or {FOLDER}.",
        ),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="What was measured; default: beside the policy file.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's log of the search.")
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Find the policy that keeps most quality at a given cost, and write it to a file.

    What is measured is kept in a journal: a search that was killed goes on from there when it is
    begun again, and ends with the same policy.
    """
    from frdiff.models import INPUTS, shipped_captions, shipped_models
    from frdiff.pictures import read_prompts
    from frdiff.sampling import set_scheduler
    from frdiff.search import tune as search

    asked = typed(context, ASKED)
    if len(asked) != 1:
        got = f", got {' and '.join(asked)}" if asked else ""
        raise ValueError(f"give one of --speedup, --budget, --min-psnr and --pareto{got}")
    if method == "gates":
        check_without(context, SEARCHED, "--method gates", "it learns keyframes alone")
    chosen = vary.split(",")
    if "reuse" not in chosen:
        check_without(context, REUSED, "--vary without reuse", "no features are stored")
    output = output or (FOLDER if pareto else FILE)
    journal = output.parent / f"{output.stem}.journal" if journal is None else journal
    _check_places(output, pareto, journal)
    log = _tensorboard(tensorboard)
    given = list(prompts or ())
    if prompts_file is not None:
        check_without(context, ["prompts"], "--prompts", "the file has them")
        given = list(read_prompts(prompts_file))
    with resumable(context, journal):
        pipe = open_model(model, device)
        shipped = model in shipped_models()
        pool = given or (shipped_captions(model) if shipped else None)
        check_drawing(pipe, pool or (), guidance[0] if type(guidance) is tuple else guidance)
        if scheduler is not None:
            set_scheduler(pipe, scheduler)
        with progress("measuring the full run") as show:
            best: list[Candidate] = []

            def on_event(now: "Progress") -> None:
                line = now.doing + on_workers(workers)
                if now.candidate is not None:
                    log(now.candidate, now.done)
                    best[:] = [max([*best, now.candidate], key=lambda one: one.quality)]
                    line += f"; best {best[0].quality:.1f} dB"
                show(line, now.runs, now.all_runs, "full runs", now.paced)

            found = search(
                pipe,
                pool,
                num_steps=steps,
                speedup=speedup,
                budget=budget,
                min_psnr=min_psnr,
                pareto=pareto,
                method=method,
                allow_scheduler=allow_scheduler,
                vary=chosen,
                targets=parsed_targets(targets),
                overhead=overhead,
                guidance=guidance_of(model, guidance),
                inputs=INPUTS.get(model, {}),
                quantile=quantile,
                samples=samples,
                evaluations=evaluations,
                latents=latents,
                seed=seed,
                workers=workers,
                engine=engine,
                resources_per_worker=resources or {},
                address=address,
                max_bytes=max_memory,
                journal=journal,
                on_event=on_event,
            )
        paths = _written(found, output)
    if as_json:
        print_json([{"policy": str(path), **_figures(policy)} for path, policy in paths.items()])
        return
    out.print(_table(paths, samples))
    for path, policy in paths.items():
        out.print(_advice(path, policy), soft_wrap=True, markup=False, highlight=False)
    if samples < FEW:
        out.print(f"{samples} samples are a first look: more find better policies, and surer dB.")


def _check_places(output: Path, folder: bool, journal: Path) -> None:
    """Refuse, before hours of work, places that nothing can be written to.

    Raises:
        ValueError: a folder stands where a file is to be written, or the other way round.
    """
    if folder and output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; --pareto writes a folder of policies: --output")
    for place in [journal] if folder else [output, journal]:
        if place.is_dir():
            raise ValueError(f"{place} is a folder; choose a file")
    for place in (output, journal):
        parent = next(path for path in place.absolute().parents if path.exists())
        if not parent.is_dir():
            raise ValueError(f"{place} cannot be written: {parent} is a file")


def _tensorboard(folder: Path | None) -> "Callable[[Candidate, int], None]":
    """What writes a search to TensorBoard's log; nothing without a folder.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    if folder is None:
        return lambda candidate, done: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ValueError(
            "--tensorboard needs tensorboard: pip install 'frdiff[tensorboard]'"
        ) from error
    writer = SummaryWriter(folder)

    def write(candidate: "Candidate", done: int) -> None:
        writer.add_scalar(f"quality/{candidate.found_by}", candidate.quality, done)
        writer.add_scalar(f"cost/{candidate.found_by}", candidate.cost, done)
        writer.flush()

    return write


def _written(found: "Policy | list[Policy]", output: Path) -> "dict[Path, Policy]":
    """The policies by the files they are in."""
    if not isinstance(found, list):
        paths = {output: found}
    else:
        output.mkdir(parents=True, exist_ok=True)
        paths = {
            output / f"speedup-{speedup:g}.json": policy
            for speedup, policy in zip(PARETO, found, strict=True)
        }
    for path, policy in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        policy.save(path)
    return paths


def _figures(policy: "Policy") -> dict[str, Any]:
    origin = policy.origin
    if origin is None:
        raise ValueError("a tuned policy has an origin")
    return {
        "num_inference_steps": origin.num_inference_steps,
        "solver": origin.solver,
        "found_by": origin.found_by,
        **origin.figures,
    }


def _table(paths: "dict[Path, Policy]", samples: int) -> Table:
    title = f"dB to the converged solution, {samples} samples each; cost in full steps"
    table = Table("", title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("steps", "cost", "speed-up\nof network", *DECIBELS):
        table.add_column(name, justify="right", no_wrap=True)
    for path, policy in paths.items():
        figures = _figures(policy)
        table.add_row(
            escape(path.stem),
            str(figures["num_inference_steps"]),
            f"{figures['cost']:.1f}",
            f"{figures['speedup']:.2f}x",
            *(f"{figures[name]:.1f}" if name in figures else "-" for name in DECIBELS.values()),
        )
    return table


def _advice(path: Path, policy: "Policy") -> str:
    """What was found, in words, and the lines that draw with it."""
    figures = _figures(policy)
    steps, scale = figures["num_inference_steps"], policy.origin and policy.origin.guidance
    plan = policy.plan(getattr(policy, "num_steps", steps))
    counted = ", ".join(f"{plan.count(kind)} {name}" for kind, name in KINDS if plan.count(kind))
    guided = f", guidance_scale={scale:g}" if isinstance(scale, float | int) else ""
    return (
        f"{path}: {counted}; {FOUND_BY[figures['found_by']]}\n"
        f"    frdiff.enable(pipe, {str(path)!r})\n"
        f"    pipe(..., num_inference_steps={steps}{guided})"
    )
