"""Keyframes decided while sampling."""

from dataclasses import dataclass
from typing import ClassVar

from frdiff.plan import Action, Plan, Step
from frdiff.policy.base import FIRST, MAX_STEPS, Policy, Targets
from frdiff.policy.checks import check_float, check_int
from frdiff.policy.storage import Storage

__all__ = ["AdaptivePolicy"]

PROBE = 0


@dataclass(frozen=True)
class AdaptivePolicy(Policy):
    """Keyframes decided while sampling, by how much an early feature moves; any step count.

    The first target of the model, the probe, is computed at every step. Where its changes since
    the last keyframe add up to more than the threshold, the rest of the network runs too. There is
    one decision per step, from a mean over the whole batch and over all ranks: samples drawn
    together share their keyframes. It waits for the device once per step, and breaks the graph of
    a compiled denoiser: `fullgraph=True` refuses it.

    Attributes:
        threshold: relative change that makes a keyframe, mean |new - old| / mean |old|. Larger:
            faster.
        longest: steps in a row that reuse, at most; this many and the next is a keyframe.
        most: share of the run's steps that may be keyframes, in (0, 1]; those at the end reuse.
        forecast, targets, coordinate, storage: see `Policy`; solvers that take uneven steps are
            served best by `"noise"`.
    """

    kind: ClassVar[str] = "adaptive"
    groups = ((FIRST,), ("*",))
    threshold: float
    longest: int = 5
    most: float = 1.0
    forecast: int = 1
    targets: Targets = "all"
    coordinate: str = "step"
    storage: Storage | None = None

    def __post_init__(self) -> None:
        self._check_features()
        check_float("threshold", self.threshold, 0.0, 1e6)
        check_int("longest", self.longest, 1, MAX_STEPS)
        check_float("most", self.most, 1e-6, 1.0)

    @property
    def reuses(self) -> bool:
        """Whether any run under this policy can have a reuse step."""
        return True

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept: none, no step jumps or mixes."""
        return 0

    @property
    def computed_groups(self) -> frozenset[int]:
        """The groups of targets that some step with stored features computes: the probe."""
        return frozenset({PROBE})

    def plan(self, num_steps: int) -> Plan:
        """Step 0 a keyframe, all others open; `revised` settles them one by one."""
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        return Plan((Step(Action.KEYFRAME), *[self._open()] * (num_steps - 1)))

    def revised(self, plan: Plan, index: int) -> Step:
        """Step `index`, now that those before it are done.

        Args:
            plan: with what the steps before `index` did.
        """
        keyframes = [i for i in plan.keyframes if i < index]
        if len(keyframes) >= self.most * len(plan):
            return Step(Action.REUSE, computed=frozenset({PROBE}))
        if index - keyframes[-1] > self.longest:
            return Step(Action.KEYFRAME)
        return self._open()

    def _open(self) -> Step:
        return Step(Action.REUSE, computed=frozenset({PROBE}), threshold=self.threshold)
