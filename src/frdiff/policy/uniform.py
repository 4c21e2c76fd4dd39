"""The paper's policy: evenly spaced keyframes and score mixing."""

from dataclasses import dataclass
from typing import ClassVar

from frdiff.plan import Plan
from frdiff.policy.base import MAX_STEPS, Policy, Targets
from frdiff.policy.checks import check_float, check_int, quote
from frdiff.policy.storage import Storage
from frdiff.run.mixing import mixing_weight

__all__ = ["UniformPolicy"]

ALIGNMENTS = ("start", "end")


@dataclass(frozen=True)
class UniformPolicy(Policy):
    """The paper's policy: evenly spaced keyframes, score mixing in between; any step count.

    Attributes:
        interval: steps from one keyframe to the next. 1 computes every step; larger is faster.
        align: `"start"` counts them from step 0, as the paper does; `"end"` from the last step,
            where features move fastest, and leaves what is over to the first gap.
        bias: where the mixing weight crosses 1/2, as a fraction of the run in [0, 1]. Larger:
            more jumps, faster, softer detail.
        tau: steepness of the mixing ramp, above 0.
        mixing: False takes the reuse score alone: no jumps, no earlier scores.
        forecast, targets, coordinate, storage: see `Policy`.
    """

    kind: ClassVar[str] = "uniform"
    interval: int
    bias: float = 0.5
    tau: float = 30.0
    mixing: bool = True
    forecast: int = 0
    targets: Targets = "paper"
    coordinate: str = "step"
    align: str = "start"
    storage: Storage | None = None

    def __post_init__(self) -> None:
        self._check_features()
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align must be one of {ALIGNMENTS}, got {quote(self.align)}")
        check_int("interval", self.interval, 1, MAX_STEPS)
        check_float("bias", self.bias, 0.0, 1.0)
        check_float("tau", self.tau, 1e-6, 1e6)
        if not isinstance(self.mixing, bool):
            raise TypeError(f"mixing must be True or False, got {self.mixing!r}")

    @property
    def reuses(self) -> bool:
        """Whether any run under this policy can have a reuse step."""
        return self.interval > 1

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        return int(self.reuses and self.mixing)

    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps (1 to 10,000)."""
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        weights = [
            mixing_weight(i, num_steps, self.bias, self.tau) if self.mixing else 1.0
            for i in range(num_steps)
        ]
        keyframes = range(0, num_steps, self.interval)
        if self.align == "end":
            # No keyframe within the first interval but step 0: the first gap takes what is over.
            keyframes = range(num_steps - 1, self.interval - 1, -self.interval)
        return Plan.from_keyframes({0, *keyframes}, weights)
