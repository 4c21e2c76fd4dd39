"""What steps cost, known before they run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from frdiff.choices import OVERHEAD
from frdiff.plan import Action
from frdiff.policy import Policy
from frdiff.run.applying import Run

__all__ = ["Prices", "prices_of"]

JUMP_SHARE = 0.2
MOST_MOVING = 0.17
"""More was not measured: caches hold what networks move that are as small as that."""


@dataclass(frozen=True)
class Prices:
    """Costs as fractions of a full step.

    Attributes:
        saved: by target, the share of a full step's MACs that its reuse saves.
        overhead: what a step with stored features takes beyond its MACs; norms, embeddings and
            the solver itself cost time and count none. A jump takes a fifth of it.
        storing: what storing adds to the MACs of a full step.
        moving: what the memory that it reads and writes makes of a step with stored features,
            beyond its MACs. It counts where it is more than `overhead`.
    """

    saved: Mapping[str, float]
    overhead: float = 0.0
    storing: float = 0.0
    moving: float = 0.0

    @property
    def reuse(self) -> float:
        """The cost of a step that computes no target."""
        return max(self.overhead, self.moving) + 1 - sum(self.saved.values())

    @property
    def jump(self) -> float:
        """The cost of a step without a network call."""
        return JUMP_SHARE * self.overhead

    def cost(self, policy: Policy, num_steps: int) -> float:
        """The cost of a run, in full steps."""
        group = {name: _group_of(name, policy) for name in self.saved}
        total = 0.0
        plan = policy.plan(num_steps)
        keyframe = 1 + (self.storing if plan.count(Action.REUSE) else 0.0)
        for step in plan:
            if step.action is Action.KEYFRAME:
                total += keyframe
            elif step.action is Action.REUSE:
                computed = (self.saved[name] for name in group if group[name] in step.computed)
                total += self.reuse + sum(computed)
            else:
                total += self.jump
        return total


def _group_of(name: str, policy: Policy) -> int:
    return next(
        number
        for number, patterns in enumerate(policy.groups)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def prices_of(run: Run, overhead: float | None = None) -> Prices:
    """The prices of the targets of a run that has ended, over all its denoiser calls.

    Args:
        overhead: see `Prices`; None for `OVERHEAD`, or what memory traffic makes of it.

    Raises:
        ValueError: no MACs at all were counted, or they cannot be.
    """
    saved: Counter[str] = Counter()
    full = storing = reuse = 0
    work = reuse_work = 0.0
    try:
        costs = run.call_costs
    except Exception as error:  # whatever a model's own code may raise on fake tensors
        raise ValueError(f"MACs cannot be counted: {error}") from error
    for cost, calls in costs:
        full += calls * cost.macs
        reuse += calls * cost.reuse_macs
        work += calls * cost.work
        reuse_work += calls * cost.reuse_work
        storing += calls * (cost.keyframe_macs - cost.macs)
        for target in cost.targets:
            saved[target.name] += calls * (target.macs - target.reuse_macs)
    if not full:
        raise ValueError("the denoiser's calls count no MACs, so nothing can be saved")
    shares = {name: macs / full for name, macs in saved.items()}
    if overhead is not None:
        return Prices(shares, overhead, storing / full)
    moving = min(reuse_work / work - reuse / full, MOST_MOVING)
    return Prices(shares, OVERHEAD, storing / full, moving)
