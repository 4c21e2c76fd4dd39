"""Halves: one half of guidance is computed, the other follows from how the halves differed."""

from dataclasses import dataclass
from typing import ClassVar

from frdiff.plan import Action, Plan, Step
from frdiff.policy.base import MAX_STEPS, Policy
from frdiff.policy.checks import check_float, check_int

__all__ = ["HalfPolicy"]

HALVES = ("first", "second")


@dataclass(frozen=True)
class HalfPolicy(Policy):
    """Between keyframes one half of guidance alone; any step count, any denoiser, tokens too.

    What guidance adds, the score with a condition less the one without, changes more slowly than
    the score itself (Lv et al. 2024, *FasterCache*, section 3.2). So a step between keyframes costs
    half of one, or where guidance takes two calls the first of them, and a run at best half. What
    has no guidance is computed in full. No features are stored. It is meant for masked models; on
    the diffusion models shipped here fewer steps are closer (docs/search.md).

    Attributes:
        interval: steps from one keyframe to the next, on average, 1 or more. Larger is faster.
        half: of a call that computes both: `"second"` has the condition in most pipelines,
            `"first"` in DiT's. Where guidance takes two calls the first of them is computed.
        forecast: 0 takes how the halves differed in the last keyframe, 1 extrapolates that linearly
            from the last two, 2 quadratically from the last three.
        coordinate: see `Policy`.
    """

    kind: ClassVar[str] = "halves"
    groups = ()
    targets = ()
    reuses = False
    interval: float
    half: str = "second"
    forecast: int = 0
    coordinate: str = "step"

    def __post_init__(self) -> None:
        self._check_forecast()
        check_float("interval", self.interval, 1, MAX_STEPS)
        if self.half not in HALVES:
            raise ValueError(f"half must be one of {HALVES}, got {self.half!r}")

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        return self.forecast + 1

    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps (1 to 10,000)."""
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        row = Step(Action.HALF, score_weights=(), half=HALVES.index(self.half))
        keyframes = {int(step * self.interval) for step in range(num_steps)}
        steps = (Step(Action.KEYFRAME) if i in keyframes else row for i in range(num_steps))
        return Plan(tuple(steps))
