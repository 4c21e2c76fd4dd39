"""What the commands share: consoles, options and their checks, and how progress is shown."""

import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from frdiff.choices import check_scheduler
from frdiff.progress import Show, bar, lines

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from frdiff.policy import Policy

MIB = 2**20
UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": MIB, "GiB": 2**30}
SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(|B|KiB|MiB|GiB)\s*")
DEFAULT_STEPS = 25
MAX_REASON = 300
out = Console()
err = Console(stderr=True)


def known_scheduler(value: str) -> str:
    """The name of a scheduler, if it is one; whether the model can take it shows later."""
    try:
        check_scheduler(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


Model = Annotated[str, typer.Argument(help="A shipped model (emoji), a folder or a hub id.")]
Forecast = Annotated[int, typer.Option(help="0 copies features, 1 extrapolates, 2 quadratically.")]
TargetOption = Annotated[
    str, typer.Option("--targets", help='"paper", "residual", "all", or wildcards with commas.')
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of the run; default 25, or the policy's.")
]
Seed = Annotated[int, typer.Option(help="Picture i is drawn from seed + i.")]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="Guidance scale; default: what a policy was tuned at, what suits a shipped model, or "
        "the pipeline's."
    ),
]


def size_in_bytes(value: str) -> int:
    """Bytes of a size such as 200MiB, 1.5GiB or 4096."""
    match = SIZE.fullmatch(value)
    if match is None:
        raise typer.BadParameter(f"a size is a number with B, KiB, MiB or GiB, got {value}")
    number, unit = match.groups()
    return int(float(number) * UNITS[unit])


def resources_of(text: str) -> dict[str, float]:
    """Amounts by name, as in GPU=1,CPU=2."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, given, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            given = ""
        if not given or not name.strip():
            raise typer.BadParameter(f"give amounts such as GPU=1 or GPU=1,CPU=2, got {text}")
    return found


MaxMemory = Annotated[
    int | None,
    typer.Option(
        parser=size_in_bytes,
        metavar="SIZE",
        help="That stored features and scores may take, such as 200MiB; more is refused.",
    ),
]
Workers = Annotated[int, typer.Option(help="To draw with: processes, or Ray's actors.")]
EngineName = Annotated[
    str, typer.Option(help="local, this machine, or ray, a cluster; results are the same.")
]
Resources = Annotated[
    dict[str, float] | None,
    typer.Option(
        "--resources-per-worker",
        parser=resources_of,
        metavar="NAME=AMOUNT,...",
        help="With --engine ray: such as GPU=1; default: CPU=1.",
    ),
]
Address = Annotated[
    str | None, typer.Option(help="With --engine ray: of a cluster, such as auto; default: here.")
]
Device = Annotated[str, typer.Option(help="Where to run: cpu, cuda, mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def progress(doing: str) -> Iterator[Show]:
    """What shows how far a command is, on stderr: a bar, or lines where that is no terminal."""
    with (bar if err.is_terminal else lines)(doing, err) as show:
        yield show


def pictures_in_words(count: int) -> str:
    """1 picture, 2 pictures."""
    return f"{count} picture{'' if count == 1 else 's'}"


def on_workers(count: int) -> str:
    """What to add to a line of progress where several work at it."""
    return f", on {count} workers" if count > 1 else ""


def open_model(model: str, device: str) -> "DiffusionPipeline":
    """The pipeline of a shipped model, a folder or a hub id, on a device.

    Raises:
        ValueError: none of the three, or no such device.
    """
    with progress(f"loading {model}"):
        check_device(device)
        silence()
        from frdiff.models import open_pipeline, shipped_models

        if model in shipped_models() or (model and Path(model).is_dir()):
            return open_pipeline(model).to(device)
        try:
            return open_pipeline(model).to(device)
        except Exception as error:  # hubs fail in many ways: offline, unknown, gated, no such id
            reason = textwrap.shorten(str(error), MAX_REASON)
            raise ValueError(
                f"cannot open {model!r}: it is none of the shipped models "
                f"({', '.join(shipped_models())}) and no folder, and as a hub id: {reason}"
            ) from error


def silence() -> None:
    """Import diffusers and transformers, and keep their remarks and bars off stderr."""
    import diffusers
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        ValueError: it does not; the message lists those that it has.
    """
    import torch

    there = ["cpu"]
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and torch.accelerator.is_available():
        kind = accelerator.type
        there += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if device not in there:
        raise ValueError(f"no device {device!r} here; there is: {', '.join(there)}")


def check_drawing(
    pipe: "DiffusionPipeline", prompts: Sequence[str], guidance: float | None
) -> None:
    """Refuse what a pipeline would pass over.

    Raises:
        ValueError: an empty prompt where pictures are drawn from prompts, or guidance where none
            is taken.
    """
    from frdiff.sampling import needs_prompts

    if needs_prompts(pipe, {}):
        for number, prompt in enumerate(prompts, 1):
            if not prompt.strip():
                raise ValueError(f"prompt {number} of {len(prompts)} is empty; say what to draw")
    if guidance is not None and "guidance_scale" not in inspect.signature(pipe).parameters:
        raise ValueError(f"{type(pipe).__name__} takes no guidance; leave --guidance out")


def typed(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Those of the options called `names` that were given, as they are written."""
    found = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            off = context.params[parameter.name] is False and parameter.secondary_opts
            found.append((parameter.secondary_opts if off else parameter.opts)[0])
    return found


def check_with(context: typer.Context, names: Iterable[str], needed: str) -> None:
    """Refuse the options called `names`, which mean nothing without what is `needed`.

    Raises:
        ValueError: some of them were given.
    """
    given = typed(context, names)
    if given:
        raise ValueError(f"{' and '.join(given)} {'go' if given[1:] else 'goes'} with {needed}")


def check_without(context: typer.Context, names: Iterable[str], other: str, why: str) -> None:
    """Refuse the options called `names`, which mean nothing beside the `other`.

    Raises:
        ValueError: some of them were given.
    """
    given = typed(context, names)
    if given:
        verb = "do" if given[1:] else "does"
        raise ValueError(f"{' and '.join(given)} {verb} not go with {other}: {why}")


def parsed_targets(text: str) -> str | list[str]:
    from frdiff.policy import TARGET_SETS

    return text if text in TARGET_SETS else text.split(",")


def policy_of(source: str, model: str | None = None) -> "Policy":
    """The policy of a file or a name; a profile alone is the model's.

    Raises:
        FileNotFoundError, ValueError: see `frdiff.load_policy`; or a profile of no shipped model.
    """
    from frdiff.models import load_policy, shipped_models
    from frdiff.models.named import RULES

    if source in RULES and not Path(source).is_file():
        if model not in shipped_models():
            raise ValueError(
                f"{source!r} is a profile of shipped models ({', '.join(shipped_models())}); give "
                f"a policy file, or a model's with it, such as emoji/{source}"
            )
        source = f"{model}/{source}"
    return load_policy(source)


def guidance_of(model: str, asked: float | None, policy: "Policy | None" = None) -> float | None:
    """The guidance scale asked for, the one that a policy was tuned at, what suits a shipped model.

    Returns:
        The scale; None for the pipeline's default.
    """
    from frdiff.models import GUIDANCE

    tuned = None if policy is None or policy.origin is None else policy.origin.guidance
    if asked is None and isinstance(tuned, float | int):
        return tuned
    return GUIDANCE.get(model) if asked is None else asked


def num_steps_of(policy: "Policy", steps: int | None) -> int:
    """The step count asked for, the policy's own, or 25."""
    if steps is not None:
        return steps
    if policy.origin is not None:
        return policy.origin.num_inference_steps
    return int(getattr(policy, "num_steps", DEFAULT_STEPS))


def print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))
