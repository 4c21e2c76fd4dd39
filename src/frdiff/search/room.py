"""Room: a policy made to fit a budget in bytes, with what loses least.

Ways of storing take fewer and fewer bytes, see `frdiff.budget.LADDER`; those that fit are measured,
and the best is taken. Where none fits, targets are computed that save the fewest MACs for
their bytes, until one does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from diffusers import DiffusionPipeline
from torch import nn

from frdiff.adapters import grouped
from frdiff.budget import LADDER, bank_bytes, changed, in_mib, rungs
from frdiff.cost import CallCost, call_costs, run_macs
from frdiff.network.hollow import Example
from frdiff.policy import JumpPolicy, Policy, UniformPolicy
from frdiff.policy.checks import check_int
from frdiff.run.applying import Run
from frdiff.sampling import check_inputs, checked_prompts
from frdiff.search.measure import decibels
from frdiff.search.subject import Batch, PipelineSubject, Subject
from frdiff.setting import Setting

__all__ = ["Calls", "bytes_needed", "calls_in", "fit_memory", "fitted"]

P = TypeVar("P", bound=Policy)
Quality = Callable[[Sequence[P]], Sequence[float]]


@dataclass(frozen=True)
class Calls:
    """The denoiser calls of one step.

    Attributes:
        made: the denoiser and the arguments of each.
        num_steps: of the run.
    """

    made: tuple[tuple[nn.Module, Example], ...]
    num_steps: int

    def costs(self, policies: Sequence[Policy]) -> list[list[CallCost]]:
        """The cost of every call under each policy."""
        rows = [call_costs(denoiser, policies, example) for denoiser, example in self.made]
        return [list(column) for column in zip(*rows, strict=True)]

    def nbytes(self, policy: Policy, costs: Sequence[CallCost]) -> int:
        """What the bank takes at most."""
        return sum(bank_bytes(cost, policy, self.num_steps) for cost in costs)


def calls_in(subject: Subject, num_steps: int, batch: Batch) -> Calls:
    """The denoiser calls of a step in which a batch is drawn."""
    found: list[Calls] = []

    def on_run(run: Run) -> None:
        found.append(Calls(tuple(run.step_calls), num_steps))

    subject.drawn(Setting(num_steps, JumpPolicy(num_steps)), batch, on_run)  # nearly all jumps
    return found[0]


def bytes_needed(
    pipe: DiffusionPipeline,
    policy: Policy,
    prompts: Sequence[str | int] | None = None,
    *,
    num_steps: int | None = None,
    guidance: float | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Bytes that the bank of such a call holds at most, on the device.

    Nothing is drawn but for two steps and jumps, which tell what calls there are.

    Args:
        prompts, num_steps, guidance, inputs: see `fit_memory`.
    """
    subject, steps, batch = _asked(pipe, policy, prompts, num_steps, guidance, inputs, 0)
    calls = calls_in(subject, steps, batch)
    (costs,) = calls.costs([policy])
    return calls.nbytes(policy, costs)


def fit_memory(
    pipe: DiffusionPipeline,
    policy: P,
    max_bytes: int,
    prompts: Sequence[str | int] | None = None,
    *,
    num_steps: int | None = None,
    guidance: float | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
) -> P:
    """The policy, its features stored so that the bank fits, with what loses least.

    What fits is measured: the final latents of the prompts, in one batch, against those of the full
    run. A policy that fits is returned as it is, and nothing is measured.

    Args:
        pipe: a pipeline that the policy is for.
        max_bytes: that the bank may take, for calls with as many pictures as there are prompts.
        prompts: drawn together; None for an unconditional pipeline, which draws one.
        num_steps: of the run; None for what a tuned policy says.
        guidance: guidance scale; None for the pipeline's default.
        inputs: further arguments of the pipeline.
        seed: picture i is drawn from seed + i.

    Raises:
        ValueError: nothing fits, or how many steps there are is not known.
    """
    check_int("max_bytes", max_bytes, 1, 2**63)
    subject, steps, batch = _asked(pipe, policy, prompts, num_steps, guidance, inputs, seed)

    def latents(one: Policy) -> np.ndarray:
        return subject.drawn(Setting(steps, one), batch).latents

    def quality(policies: Sequence[Policy]) -> list[float]:
        full = latents(UniformPolicy(1))
        return [float(np.median(decibels(full, latents(one), None))) for one in policies]

    return fitted(policy, calls_in(subject, steps, batch), max_bytes, quality)


def _asked(
    pipe: DiffusionPipeline,
    policy: Policy,
    prompts: Sequence[str | int] | None,
    num_steps: int | None,
    guidance: float | None,
    inputs: Mapping[str, Any],
    seed: int,
) -> tuple[PipelineSubject, int, Batch]:
    """What is drawn, in how many steps."""
    steps = num_steps or getattr(policy, "num_steps", None)
    if steps is None:
        raise ValueError(f"a {policy.kind} policy runs any number of steps: give num_steps")
    check_inputs(pipe, inputs)
    subject = PipelineSubject(pipe, guidance, True, dict(inputs))
    texts = [] if prompts is None else checked_prompts(prompts)
    return subject, steps, Batch(seed, tuple(texts or ("",)))


def fitted(policy: P, calls: Calls, max_bytes: int, quality: Quality[P]) -> P:
    """The policy, its features stored so that the bank fits, with what loses least.

    Args:
        quality: of policies, the higher the better; asked only where there is a choice.

    Raises:
        ValueError: nothing fits.
    """
    (costs,) = calls.costs([policy])
    fitting = [other for other, size in rungs(policy, costs, calls.num_steps) if size <= max_bytes]
    if policy in fitting:
        return policy
    if not fitting:
        return _pruned(policy, calls, max_bytes)
    if len(fitting) == 1:
        return fitting[0]
    values = list(quality(fitting))
    return fitting[values.index(max(values))]


def _pruned(policy: P, calls: Calls, max_bytes: int) -> P:
    """The policy in the fewest bytes, without the targets that save least for theirs."""
    least = policy
    if policy.reuses:
        least = changed(policy, storage=LADDER[-1])
        while True:
            (costs,) = calls.costs([least])
            size = calls.nbytes(least, costs)
            if size <= max_bytes:
                return least
            following = _without_one_run(least, calls, costs)
            if following is None:
                break
            least = following
    (costs,) = calls.costs([least])
    raise ValueError(
        f"the policy does not fit in {in_mib(max_bytes)}: at the least its bank takes "
        f"{in_mib(calls.nbytes(least, costs))}, for scores and the features that are worth most; "
        "draw fewer pictures at a time, or tune with jumps of a lower order"
    )


def _without_one_run(policy: P, calls: Calls, costs: Sequence[CallCost]) -> P | None:
    """The policy without the run of targets that saves the fewest MACs for its bytes."""
    runs: dict[int, list[str]] = {}
    for target, place in zip(costs[0].targets, costs[0].layout.places, strict=True):
        if costs[0].layout.places[place.first].read:
            runs.setdefault(place.first, []).append(target.name)
    if len(runs) < 2:
        return None
    # Set by set: what is behind a target computed anew may be read, and stored, then.
    groups = grouped(costs[0].targets, policy.groups)
    members = dict(zip((target.name for target in costs[0].targets), groups, strict=True))
    others = [
        _without(policy, names)
        for names in runs.values()
        # A group that steps decide on has a target.
        if {members[name] for name in members.keys() - {*names}} == {*groups}
    ]
    size, macs = calls.nbytes(policy, costs), _macs(policy, calls, costs)
    rows = []
    for other, counted in zip(others, calls.costs(others), strict=True):
        saved = size - calls.nbytes(other, counted)
        if saved > 0:
            rows.append(((_macs(other, calls, counted) - macs) / saved, other))
    return min(rows, key=lambda row: row[0])[1] if rows else None


def _macs(policy: Policy, calls: Calls, costs: Sequence[CallCost]) -> int:
    return sum(run_macs(cost, policy, calls.num_steps) for cost in costs)


def _without(policy: P, names: Sequence[str]) -> P:
    """The policy with some targets computed at every step."""
    targets = (f"<{policy.targets}>",) if isinstance(policy.targets, str) else policy.targets
    return changed(policy, targets=(*targets, *(f"!{name}" for name in names)))
