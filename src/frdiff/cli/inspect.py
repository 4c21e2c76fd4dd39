"""`frdiff inspect`: a model's targets with their costs, or a policy's table step by step."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from frdiff.cli.shared import (
    DEFAULT_STEPS,
    MIB,
    AsJson,
    Forecast,
    Steps,
    TargetOption,
    check_with,
    check_without,
    num_steps_of,
    open_model,
    out,
    parsed_targets,
    policy_of,
    print_json,
    progress,
    silence,
)

if TYPE_CHECKING:
    from frdiff.cost import CallCost
    from frdiff.plan import Plan
    from frdiff.policy import Origin, Policy


def inspect(
    context: typer.Context,
    subject: Annotated[
        str | None,
        typer.Argument(help="A model as in generate, or a policy: a file, or emoji/high."),
    ] = None,
    targets: TargetOption = "all",
    forecast: Forecast = 1,
    steps: Steps = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Of a policy for a range: the scale to show; default: its middle."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Of a policy: draw its steps and groups to this PNG.")
    ] = None,
    model_class: Annotated[
        str | None,
        typer.Option(help="A class of diffusers, or a model of frdiff models, instead."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="With --model-class: predict what this policy saves.")
    ] = None,
    interval: Annotated[
        int, typer.Option(help="With --model-class: keyframes every so many steps.")
    ] = 2,
    as_json: AsJson = False,
) -> None:
    """Show a model's targets with their costs, or a policy's table step by step."""
    if (subject is None) == (model_class is None):
        raise ValueError("give a model or a policy file, or --model-class, one of the two")
    if model_class is not None:
        about = "they are about a policy file of its own"
        check_without(context, ["picture", "guidance"], "--model-class", about)
        if policy is not None:
            said = ["targets", "forecast", "interval"]
            check_without(context, said, "--policy", "the file says all of it")
        _show_full_size(model_class, policy, targets, forecast, interval, steps, as_json)
        return
    check_with(context, ["policy", "interval"], "--model-class")
    assert subject is not None
    if subject.endswith(".json") or Path(subject).is_file() or _is_name(subject):
        check_without(context, ["targets", "forecast"], "a policy file", "it has its own")
        _show_policy(subject, steps, guidance, picture, as_json)
        return
    check_without(
        context, ["steps", "guidance", "picture"], "a model", "they are about a policy file"
    )
    _show_model(subject, targets, forecast, as_json)


def _is_name(subject: str) -> bool:
    """Whether it can only be that of a shipped policy, such as emoji/high."""
    from frdiff.models import shipped_models

    return subject.partition("/")[0] in shipped_models() and "/" in subject


def _show_policy(
    file: str, steps: int | None, guidance: float | None, picture: Path | None, as_json: bool
) -> None:
    from frdiff.policy import RangePolicy

    policy = policy_of(file)
    if isinstance(policy, RangePolicy):
        policy = policy.at(guidance) if guidance else policy.middle
    plan = policy.plan(steps or int(getattr(policy, "num_steps", DEFAULT_STEPS)))
    if picture is not None:
        _draw(policy, plan, picture)
    if as_json:
        print_json({"policy": policy.to_dict(), "plan": plan_rows(policy, plan)})
        return
    out.print(_plan_table(policy, plan, escape(Path(file).name)))
    if policy.origin is None:
        out.print(str(policy), soft_wrap=True, markup=False)
    else:
        out.print(_origin_table(policy.origin))
    if picture is not None:
        out.print(str(picture), soft_wrap=True, markup=False)


def _show_model(name: str, targets: str, forecast: int, as_json: bool) -> None:
    from frdiff.budget import in_mib, rungs
    from frdiff.cost import first_call_cost
    from frdiff.policy import UniformPolicy

    pipe = open_model(name, "cpu")
    with progress("counting"):
        policy = UniformPolicy(2, forecast=forecast, targets=parsed_targets(targets))
        costs = first_call_cost(pipe, policy)
    if as_json:
        print_json({name: cost.to_dict() for name, cost in costs.items()})
        return
    for name, cost in costs.items():
        out.print(_cost_table(name, cost))
        out.print(f"{_ratio(cost)}; bank with forecast {forecast}:")
        for other, size in rungs(policy, [cost]):
            how = "as it is" if other.storage is None else str(other.storage)
            out.print(f"  {in_mib(size)} {how}", highlight=False)


def _show_full_size(
    name: str,
    file: str | None,
    targets: str,
    forecast: int,
    interval: int,
    steps: int | None,
    as_json: bool,
) -> None:
    from frdiff.catalogue.full_size import find_full_sizes
    from frdiff.policy import UniformPolicy

    models = find_full_sizes([name])
    policy: Policy
    if file is not None:
        policy = policy_of(file)
    else:
        chosen = parsed_targets(targets)
        policy = UniformPolicy(interval, mixing=False, forecast=forecast, targets=chosen)
    num_steps = num_steps_of(policy, steps)
    with progress("loading diffusers") as show:
        silence()
        from frdiff.catalogue.predict import predict

        found = []
        for done, model in enumerate(models):
            show(f"counting {model.name}", done, len(models))
            found.append(predict(model, policy, num_steps))
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    for one in found:
        out.print(_cost_table(f"{one.model} at {one.at}, batch {one.batch}", one.cost))
        out.print(_ratio(one.cost))
        out.print(
            f"{num_steps} steps: {one.keyframes} keyframes, {one.reuse_steps} reuse, "
            f"{one.jumps} jumps, {one.halves} halves; {one.macs / 1e9:,.0f} of "
            f"{one.macs_full / 1e9:,.0f} "
            f"GMACs, predicted speed-up {one.speedup:.2f}x; bank {one.bank_bytes / MIB:,.1f} MiB",
            soft_wrap=True,
        )


def _ratio(cost: "CallCost") -> str:
    return (
        f"full step {cost.macs / 1e9:.3f} GMACs, reuse step {cost.reuse_macs / 1e9:.3f}: reuse "
        f"ratio {cost.reuse_ratio:.3f}"
    )


def _draw(policy: "Policy", plan: "Plan", path: Path) -> None:
    """Write the picture of a policy.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from frdiff.cli.picture import draw_policy
    except ModuleNotFoundError as error:
        raise ValueError(f"--picture needs {error.name}: pip install 'frdiff[bench]'") from error
    draw_policy(policy, plan, path)


def _origin_table(origin: "Origin") -> Table:
    table = Table("", "", title="tuned for", show_header=False)
    for name, value in dataclasses.asdict(origin).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        if name != "noise_levels":
            table.add_row(name, escape(str(value)))
    return table


def plan_rows(policy: "Policy", plan: "Plan") -> list[dict[str, Any]]:
    """What every step of a plan does, by name, ready for JSON."""
    levels = policy.noise_levels
    return [
        {
            "step": i,
            "action": str(step.action),
            "mixing_weight": step.mixing_weight,
            "groups_computed": sorted(step.computed),
            "score_weights": list(step.score_weights),
            "sample_weight": step.sample_weight,
            "guidance_weight": step.guidance_weight,
            "noise_level": None if levels is None else math.exp(levels[i]),
        }
        for i, step in enumerate(plan)
    ]


def _plan_table(policy: "Policy", plan: "Plan", title: str) -> Table:
    """Step by step; a column is left out where it says nothing at any step."""
    rows = plan_rows(policy, plan)

    def cells(name: str, form: str) -> list[str]:
        return ["" if row[name] is None else format(row[name], form) for row in rows]

    columns = {
        "step": cells("step", ""),
        "action": cells("action", ""),
        "mixing weight": cells("mixing_weight", ".3f"),
        "groups computed": [", ".join(map(str, row["groups_computed"])) for row in rows],
        "weights of scores, newest first": [
            ", ".join(f"{weight:.3f}" for weight in row["score_weights"]) for row in rows
        ],
        "of the sample": cells("sample_weight", ".3f"),
        "of guidance": cells("guidance_weight", ".3f"),
        "noise level": cells("noise_level", ".4g"),
    }
    silent = {
        "mixing weight": {"0.000", "1.000"},  # what every keyframe and jump has
        "of the sample": {"0.000"},
        "of guidance": {"0.000"},
    }
    table = Table(title=f"{title}: {len(plan)} steps")
    shown = [name for name in columns if {*columns[name]} - silent.get(name, {""})]
    for name in shown:
        table.add_column(name, no_wrap=name == "action")
    for line in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*line)
    if {"of the sample", "of guidance"} & {*shown}:
        table.caption = (
            "what the solver takes at a step: scores so far, the sample, and how the halves of "
            "guidance differ, by these weights"
        )
    return table


def _cost_table(name: str, cost: "CallCost") -> Table:
    table = Table("target", title=name)
    for column in ("MMACs", "of all", "left on reuse", "KiB stored"):
        table.add_column(column, justify="right")
    for number, target in enumerate(cost.targets):
        stored = f"{target.feature_bytes / 1024:.1f}"
        if number not in cost.layout.stored:
            # The last target of a run has the bytes of its sum.
            stored = "in the sum" if cost.layout.places[number].read else "not read"
        table.add_row(
            target.name,
            f"{target.macs / 1e6:.2f}",
            f"{target.macs / cost.macs:.1%}",
            f"{target.reuse_macs / 1e6:.2f}",
            stored,
        )
    return table
