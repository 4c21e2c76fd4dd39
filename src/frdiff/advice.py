"""Advice: what is worth saying of a run before it has drawn anything."""

from frdiff.plan import Action, Plan
from frdiff.policy import Conditions, Policy

__all__ = ["not_tuned_for", "too_little_saved"]

FEW_STEPS = 10
LITTLE_SAVED = 0.05


def not_tuned_for(policy: Policy, conditions: Conditions) -> str | None:
    """What to say where a policy was tuned under other conditions than a run is made; or None."""
    unlike = [] if policy.origin is None else policy.origin.unlike(conditions)
    if not unlike:
        return None
    return (
        f"this policy was not tuned for this run, where {'; '.join(unlike)}. It may do worse than "
        "fewer steps without it: run frdiff.tune for this, at a guidance or for a range of them, "
        "such as guidance=(2, 8)"
    )


def too_little_saved(policy: Policy, plan: Plan) -> str | None:
    """What to say where a plan computes nearly all that the run would without it; or None."""
    if any(step.corrects for step in plan) or policy.noise_levels is not None:
        return None  # fewer steps with numbers of their own, which is what makes it fast
    computed = plan.count(Action.KEYFRAME) / len(plan)
    if len(plan) < FEW_STEPS:
        reason = f"a run of {len(plan)} steps (fewer than {FEW_STEPS}) has little to reuse"
    elif computed > 1 - LITTLE_SAVED:
        reason = f"the plan computes {computed:.0%} of its steps in full"
    else:
        return None
    return f"{reason}: expect little speed-up"
