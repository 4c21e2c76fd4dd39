"""The budget: what a bank takes, in bytes, before there is any, and how it could take less.

A policy and one pass of the denoiser tell: which steps store, which targets share a sum, what is
held of a feature in which way. What a run then holds is the same, to the byte.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from frdiff.adapters import grouped
from frdiff.cost import CallCost
from frdiff.plan import Action, Plan
from frdiff.policy import Policy, RangePolicy, Storage
from frdiff.storage import Kind, keeping_of, on_host

__all__ = ["LADDER", "Budget", "OverBudgetError", "bank_bytes", "changed", "in_mib", "rungs"]

P = TypeVar("P", bound=Policy)

LADDER = (
    Storage("half"),
    Storage("half", "int8"),
    Storage("half", "int8", 0.25),
    Storage("int8"),
    Storage("int8", "int8", 0.25),
    Storage("int8", "int8", 0.0625),
)
"""Ways of storing in fewer and fewer bytes. What each loses is measured in docs/memory.md: mostly
nothing, but which loses least differs from model to model."""


class OverBudgetError(MemoryError):
    """A bank would take more bytes than it may."""


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
        for kind in cost.targets[number].features:
            typed = _typed(kind, dtype)
            here = keeping.offloads and not on_host(cost.device)
            total += (keeping.nbytes_here if here else keeping.nbytes)(typed, rows)
    return total


def _rows(policy: Policy, plan: Plan | None, group: int) -> int:
    """Of how many steps features of a group are held at most."""
    if plan is None:
        return policy.depth
    if any(step.threshold is not None for step in plan):
        # Whether a step is a keyframe shows too late for the oldest to make room.
        return policy.depth + 1
    times = sum(step.action is Action.KEYFRAME or group in step.computed for step in plan)
    return min(policy.depth, times)


def _typed(kind: Kind, dtype: torch.dtype | None) -> Kind:
    return kind if dtype is None else Kind(kind.shape, dtype)


def changed(policy: P, **fields: Any) -> P:
    """The policy with other values of these fields; of a range, in all its tables."""
    if isinstance(policy, RangePolicy):
        fields = {"tables": [replace(table, **fields) for table in policy.tables]}
    found: P = replace(policy, **fields)  # type: ignore[type-var]
    return found


def rungs(
    policy: P, costs: Sequence[CallCost], num_steps: int | None = None
) -> list[tuple[P, int]]:
    """The policy with its features stored in fewer and fewer bytes, and how many each takes.

    As it is first; what takes no fewer bytes than one before it is left out.

    Args:
        costs: of the calls of a step.
        num_steps: see `bank_bytes`.
    """
    found: list[tuple[P, int]] = []
    for storage in (policy.storage, *(LADDER if policy.reuses else ())):
        other = policy if storage is policy.storage else changed(policy, storage=storage)
        size = sum(bank_bytes(cost, other, num_steps) for cost in costs)
        if not found or size < found[-1][1]:
            found.append((other, size))
    return found


class Budget:
    """What the bank of a run may take, and the denoiser calls of a step that take of it.

    Args:
        max_bytes: that it may take; None for any number.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self.max_bytes = max_bytes
        self._claims: list[CallCost] = []

    def clear(self) -> None:
        """Forget the calls."""
        self._claims = []

    def claim(self, policy: Policy, cost: CallCost, num_steps: int) -> None:
        """Take one more call of the first step of a run into account.

        Args:
            num_steps: of the scheduler; a run may begin at a later one.

        Raises:
            OverBudgetError: it does not fit; the text says what does.
        """
        if self.max_bytes is None:
            return
        self._claims.append(cost)
        steps: int | None = num_steps
        try:
            policy.plan(num_steps)
        except ValueError:
            steps = None
        (_, size), *smaller = rungs(policy, self._claims, steps)
        if size <= self.max_bytes:
            return
        kinds = [kind for one in self._claims for kind in one.scores]
        scores = policy.score_depth * sum(kind.nbytes for kind in kinds)
        fitting = [(other.storage, less) for other, less in smaller if less <= self.max_bytes]
        ways = "; ".join(f"{in_mib(less)} {storage}" for storage, less in fitting)
        ways = ways or "no way of storing all its targets"
        raise OverBudgetError(
            f"the policy's bank takes {in_mib(size)} for such calls, {in_mib(scores)} of it "
            f"scores, and max_bytes allows {in_mib(self.max_bytes)}. What fits: {ways}. "
            f"frdiff.fit_memory(pipe, policy, {self.max_bytes}, prompts) chooses by measuring, and "
            "where nothing else fits has those targets computed that save least for their bytes"
        )


def in_mib(size: int) -> str:
    """A size as people read it."""
    return f"{size / 2**20:,.2f} MiB"
