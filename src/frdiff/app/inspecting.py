"""A policy looked at: what every step does, what it costs here, and what it was tuned for."""

import dataclasses
import io
from collections.abc import Sequence

from PIL import Image

from frdiff.app.looks import data_uri, size
from frdiff.app.studio import Opened
from frdiff.app.turns import Turns
from frdiff.app.wording import message, table
from frdiff.budget import bank_bytes
from frdiff.choices import OVERHEAD
from frdiff.cli.inspect import plan_rows
from frdiff.cost import first_call_cost, run_macs
from frdiff.models.matching import why_not
from frdiff.plan import Action, Plan
from frdiff.policy import AdaptivePolicy, Origin, Policy, RangePolicy

__all__ = ["inspected"]

NAMES = {
    Action.KEYFRAME: "keyframes",
    Action.REUSE: "reuse steps",
    Action.JUMP: "jumps",
    Action.HALF: "halves",
}
HEAD = ("step", "action", "groups computed", "weights of scores, newest first", "mixing")


def inspected(
    opened: Opened,
    policy: Policy,
    steps: int | None,
    guidance: float | None,
    turns: Turns,
) -> str:
    """The picture of a policy's table, figures of a run with it, the steps, and its origin.

    Args:
        opened: the model that costs are counted on.
        steps: of the run; None for the policy's own, or the model's.
        guidance: of a policy for a range, the scale to show; None for its middle.
        turns: the line to stand in, for seconds are predicted from two short calls.

    Raises:
        ValueError: a policy for another step count.
    """
    if isinstance(policy, RangePolicy):
        policy = policy.middle if guidance is None else policy.at(guidance)
    plan = policy.plan(steps or int(getattr(policy, "num_steps", opened.steps)))
    from frdiff.cli.picture import draw_policy  # matplotlib takes a second

    drawn = io.BytesIO()
    draw_policy(policy, plan, drawn)
    address = data_uri(Image.open(drawn))
    parts = [
        f'<div class="fr-plan"><img alt="steps and groups of targets" src="{address}"></div>',
        "<h3>A run</h3>",
        _run(opened, policy, plan, turns),
    ]
    if policy.origin is not None:
        parts += ["<h3>Tuned for</h3>", table(_origin(policy.origin))]
    rows = [
        (
            row["step"],
            row["action"],
            _short(row["groups_computed"]),
            _short([f"{weight:.3f}" for weight in row["score_weights"]]),
            f"{row['mixing_weight']:.3g}",
        )
        for row in plan_rows(policy, plan)
    ]
    steps_table = table(rows, HEAD)
    parts.append(f"<details><summary>All {len(plan)} steps</summary>{steps_table}</details>")
    return "".join(parts)


def _short(values: Sequence[object], most: int = 12) -> str:
    cut = "" if len(values) <= most else f" and {len(values) - most} more"
    return ", ".join(map(str, values[:most])) + cut


def _run(opened: Opened, policy: Policy, plan: Plan, turns: Turns) -> str:
    reason = why_not(opened.pipe, policy)
    counts = [f"{plan.count(one)} {name}" for one, name in NAMES.items() if plan.count(one)]
    rows: list[tuple[str, str]] = [("steps", f"{len(plan)}: {', '.join(counts)}")]
    if reason is not None:
        said = f"what it costs on {opened.name} is not told: {reason}"
        return table(rows) + message(said, wrong=True)
    with turns.taken(lambda: False):
        costs = first_call_cost(opened.pipe, policy)
        besides, step = opened.pace()
    macs = sum(run_macs(cost, policy, len(plan)) for cost in costs.values())
    one = sum(cost.macs for cost in costs.values())
    held = sum(bank_bytes(cost, policy, len(plan)) for cost in costs.values())
    passes = macs / one + OVERHEAD * plan.count(Action.REUSE)
    full = round(policy.origin.figures.get("full_steps", len(plan))) if policy.origin else len(plan)
    here, whole = besides + passes * step, besides + full * step
    most = ", at most" if isinstance(policy, AdaptivePolicy) else ""
    rows += [
        (
            "cost",
            f"{macs / 1e9:.2f} GMACs{most}, {macs / (full * one):.2f} of those of {full} steps",
        ),
        ("bank", f"{size(held)} for one picture{most}"),
        (
            "predicted seconds",
            f"{here:.3g} a picture on this machine, the full run of {full} steps {whole:.3g}",
        ),
    ]
    return table(rows)


def _origin(origin: Origin) -> list[tuple[str, str]]:
    rows = []
    for name, value in dataclasses.asdict(origin).items():
        if value is None or name == "noise_levels":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, tuple):
            value = " to ".join(map(str, value))
        rows.append((name.replace("_", " "), str(value)))
    return rows
