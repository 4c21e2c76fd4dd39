"""Advice: what is worth saying of a run."""

from collections.abc import Mapping
from typing import Any

from frdiff.network.calls import sample_in
from frdiff.network.halves import has_halves
from frdiff.plan import Action, Plan
from frdiff.policy import Conditions, Policy
from frdiff.policy.conditions import GUIDANCE

__all__ = ["not_guided_in_one_call", "not_tuned_for", "too_little_saved"]

FEW_STEPS = 10
LITTLE_SAVED = 0.05


def not_tuned_for(policy: Policy, conditions: Conditions) -> str | None:
    """What to say where a policy was tuned under other conditions than a run is made; or None."""
    unlike = [] if policy.origin is None else policy.origin.unlike(conditions)
    if not unlike:
        return None
    return (
        f"this policy was not tuned for this run, where {'; '.join(unlike)}. It may do worse than "
        "fewer steps without it: draw as it was tuned, or run frdiff.tune for this, at a guidance "
        "or for a range of them, such as guidance=(2, 8)"
    )


def not_guided_in_one_call(policy: Policy, inputs: Any, scales: Mapping[str, float]) -> str | None:
    """What to say where guidance weights had no halves to weigh in a guided run; or None.

    Waits for the device where there are such weights.

    Args:
        inputs: arguments of one call of the denoiser.
        scales: the guidance scales that are told.
    """
    if not any(policy.guidance_weights or ()) or scales.get(GUIDANCE, 2.0) <= 1:
        return None
    if has_halves(sample_in(inputs)):
        return None
    return (
        "this policy was tuned where the denoiser computes both halves of guidance in one call, "
        "and weighs how they differ, but here no call had both, so that was left out. It may do "
        "worse than fewer steps: run frdiff.tune on this loop"
    )


def too_little_saved(policy: Policy, plan: Plan) -> str | None:
    """What to say where a plan computes nearly all that the run would without it; or None."""
    if any(step.corrects for step in plan) or policy.noise_levels is not None:
        return None  # fewer steps with numbers of their own, which is what makes it fast
    computed = (plan.count(Action.KEYFRAME) + plan.count(Action.HALF) / 2) / len(plan)
    if len(plan) < FEW_STEPS:
        reason = f"a run of {len(plan)} steps (fewer than {FEW_STEPS}) has little to reuse"
    elif computed > 1 - LITTLE_SAVED:
        reason = f"the plan computes {computed:.0%} of its steps in full"
    else:
        return None
    return f"{reason}: expect little speed-up"
