"""The budget: what a bank takes, in bytes, before there is any, and how it could take less.

A policy and one pass of the denoiser tell: which steps store, which targets share a sum, what is
held of a feature in which way. What a run then holds is the same, to the byte.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from frdiff.adapters import grouped
from frdiff.cost import CallCost
from frdiff.plan import Action, Plan
from frdiff.policy import Policy, RangePolicy, Storage
from frdiff.storage import Kind, keeping_of

__all__ = ["LADDER", "bank_bytes", "changed", "check_budget", "in_bytes", "in_mib", "rungs"]

LADDER = (
    Storage("half"),
    Storage("half", "int8"),
    Storage("half", "int8", 0.25),
    Storage("int8", "int8", 0.25),
    Storage("int8", "int8", 0.0625),
)
"""Ways of storing in fewer and fewer bytes; what they lose is measured in docs/memory.md."""

UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(|B|KiB|MiB|GiB)\s*")


def bank_bytes(
    cost: CallCost,
    policy: Policy,
    num_steps: int | None = None,
    dtype: torch.dtype | None = None,
) -> int:
    """Bytes that the bank holds at most of one denoiser call a step.

    A run with several calls a step, such as one for either half of guidance, holds that of each.
    Exact where the policy decides before the run which steps are keyframes, else what it can come
    to.

    Args:
        cost: of the call, with the policy's targets.
        num_steps: of the run; None for one that has as many keyframes as are ever held.
        dtype: of features and scores; None for those of the call.
    """
    plan = None if num_steps is None else policy.plan(num_steps)
    keyframes = policy.score_depth if plan is None else plan.count(Action.KEYFRAME)
    total = min(policy.score_depth, keyframes) * sum(
        _typed(kind, dtype).nbytes for kind in cost.scores
    )
    if not policy.reuses:
        return total
    keeping = keeping_of(policy.storage, policy.depth)
    groups = grouped(cost.targets, policy.groups)
    for number in cost.layout.stored:
        rows = _rows(policy, plan, groups[number])
        total += sum(
            keeping.nbytes(_typed(kind, dtype), rows) for kind in cost.targets[number].features
        )
    return total


def _rows(policy: Policy, plan: Plan | None, group: int) -> int:
    """Of how many steps features of a group are held at most."""
    if plan is None:
        return policy.depth
    if any(step.threshold is not None for step in plan):
        # Whether a step is a keyframe shows once it has stored its probe beside the others.
        return policy.depth + (group in policy.computed_groups)
    times = sum(step.action is Action.KEYFRAME or group in step.computed for step in plan)
    return min(policy.depth, times)


def _typed(kind: Kind, dtype: torch.dtype | None) -> Kind:
    return kind if dtype is None else Kind(kind.shape, dtype)


def changed(policy: Policy, **fields: Any) -> Policy:
    """The policy with other values of these fields; of a range, in all its tables."""
    if isinstance(policy, RangePolicy):
        return replace(policy, tables=[replace(table, **fields) for table in policy.tables])
    found: Policy = replace(policy, **fields)  # type: ignore[type-var]
    return found


def rungs(
    policy: Policy, costs: Sequence[CallCost], num_steps: int | None = None
) -> list[tuple[Policy, int]]:
    """The policy with its features stored in fewer and fewer bytes, and how many each takes.

    As it is first, then from the least harm to the most; what takes no fewer bytes than one before
    it is left out.

    Args:
        costs: of the calls of a step.
        num_steps: see `bank_bytes`.
    """
    found: list[tuple[Policy, int]] = []
    for storage in (policy.storage, *(LADDER if policy.reuses else ())):
        other = policy if storage is policy.storage else changed(policy, storage=storage)
        size = sum(bank_bytes(cost, other, num_steps) for cost in costs)
        if not found or size < found[-1][1]:
            found.append((other, size))
    return found


def check_budget(
    policy: Policy, costs: Sequence[CallCost], num_steps: int | None, max_bytes: int
) -> None:
    """Refuse a policy whose bank does not fit.

    Args:
        costs: of the calls of a step.
        num_steps: see `bank_bytes`.

    Raises:
        ValueError: it does not; the text says what does.
    """
    (_, size), *smaller = rungs(policy, costs, num_steps)
    if size <= max_bytes:
        return
    scores = policy.score_depth * sum(kind.nbytes for cost in costs for kind in cost.scores)
    fitting = [
        f"{in_mib(less)} with {other.storage}" for other, less in smaller if less <= max_bytes
    ]
    ways = "; ".join(fitting) or "no way of storing all its targets"
    raise ValueError(
        f"the policy's bank takes {in_mib(size)} for such calls, {in_mib(scores)} of it scores, "
        f"and max_bytes allows {in_mib(max_bytes)}. What fits: {ways}. frdiff.fit_memory(pipe, policy, "
        f"{max_bytes}, prompts) chooses by measuring, and where nothing else fits has those "
        "targets computed that save least for their bytes"
    )


def in_bytes(text: str) -> int:
    """Bytes of a size such as "200MiB", "1.5 GiB" or "4096".

    Raises:
        ValueError: it is none.
    """
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"a size must be a number with B, KiB, MiB or GiB, got {text!r}")
    number, unit = match.groups()
    return int(float(number) * UNITS[unit])


def in_mib(size: int) -> str:
    """A size as people read it."""
    return f"{size / 2**20:,.2f} MiB"
