"""What the commands share: consoles, options and progress bars."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from diffusers import DiffusionPipeline
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from frdiff.models import open_pipeline
from frdiff.policy import TARGET_SETS, Policy
from frdiff.sampling import SCHEDULERS

MIB = 2**20
DEFAULT_STEPS = 25
out = Console()
err = Console(stderr=True)

SchedulerName = StrEnum("SchedulerName", list(SCHEDULERS))  # type: ignore[misc]

Model = Annotated[str, typer.Argument(help="A shipped model (emoji), a folder or a hub id.")]
Forecast = Annotated[int, typer.Option(help="0 copies features, 1 extrapolates, 2 quadratically.")]
TargetOption = Annotated[
    str, typer.Option("--targets", help='"paper", "residual", "all", or wildcards with commas.')
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of the run; default 25, or the policy's.")
]
Seed = Annotated[int, typer.Option(help="Picture i is drawn from seed + i.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale.")]
Device = Annotated[str, typer.Option(help="Where to run: cpu, cuda, mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def open_model(model: str, device: str) -> DiffusionPipeline:
    with err.status(f"loading {escape(model)}"):
        return open_pipeline(model).to(device)


def parsed_targets(text: str) -> str | list[str]:
    return text if text in TARGET_SETS else text.split(",")


def num_steps_of(policy: Policy, steps: int | None) -> int:
    """The step count asked for, the policy's own, or 25."""
    if steps is not None:
        return steps
    if policy.origin is not None:
        return policy.origin.num_inference_steps
    return int(getattr(policy, "num_steps", DEFAULT_STEPS))


def progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeRemainingColumn(), console=err, transient=True)


def print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))
