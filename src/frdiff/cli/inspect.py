"""`frdiff inspect`: a model's targets with their costs, or a policy's table step by step."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from frdiff.cli.shared import (
    MIB,
    AsJson,
    Forecast,
    Steps,
    TargetOption,
    err,
    num_steps_of,
    open_model,
    out,
    parsed_targets,
    print_json,
)
from frdiff.cost import CallCost, first_call_cost
from frdiff.plan import Plan
from frdiff.policy import UniformPolicy, load_policy


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
        plan = policy.plan(num_steps_of(policy, steps))
        if as_json:
            print_json({"policy": policy.to_dict(), "plan": _plan_rows(plan)})
        else:
            out.print(_plan_table(plan, escape(Path(subject).name)))
            out.print(str(policy), soft_wrap=True, markup=False)
        return
    pipe = open_model(subject, "cpu")
    with err.status("counting"):
        policy = UniformPolicy(2, forecast=forecast, targets=parsed_targets(targets))
        costs = first_call_cost(pipe, policy)
    if as_json:
        print_json({name: _cost_dict(cost) for name, cost in costs.items()})
        return
    for name, cost in costs.items():
        out.print(_cost_table(name, cost))
        bank = cost.feature_bytes * (forecast + 1) / MIB
        out.print(
            f"full step {cost.macs / 1e9:.3f} GMACs, reuse step {cost.reuse_macs / 1e9:.3f}: reuse "
            f"ratio {cost.reuse_ratio:.3f}; bank {bank:.2f} MiB with forecast {forecast}"
        )


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
