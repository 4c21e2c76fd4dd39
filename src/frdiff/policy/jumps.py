"""Jumps alone: fewer network calls, on all the steps that the solver wants."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from frdiff.plan import Action, Plan, Step
from frdiff.policy.base import MAX_STEPS, Policy
from frdiff.policy.checks import check_float, check_int, quote

__all__ = ["JumpPolicy", "spaced"]

MAX_CROWDING = 10.0


@dataclass(frozen=True)
class JumpPolicy(Policy):
    """Jumps between keyframes, their scores extrapolated; any step count, any denoiser.

    No features are stored, so nothing is hooked but the denoiser itself.

    Attributes:
        interval: steps from one keyframe to the next, on average, 1 or more. Larger is faster.
        crowding: how keyframes crowd towards the end of the run, 1 to 10; 1 spaces them evenly.
            Transformers want 1.3.
        forecast: 0 takes the last keyframe's score, as the paper's reduced NFE does, 1
            extrapolates linearly from the last two, 2 quadratically from the last three.
        coordinate: see `Policy`.
        checked: hold jumps back where the last keyframes did not move as their extrapolation would
            have it: early in a run and at high guidance, where extrapolating feeds on its own
            errors. Each sample by itself takes the share of the extrapolation that explains the
            last keyframe, and the score of that keyframe for the rest. Keeps one score more.
    """

    kind: ClassVar[str] = "jumps"
    groups = ()
    targets = ()
    reuses = False
    interval: float
    crowding: float = 1.0
    forecast: int = 1
    coordinate: str = "step"
    checked: bool = False

    def __post_init__(self) -> None:
        self._check_forecast()
        check_float("interval", self.interval, 1, MAX_STEPS)
        check_float("crowding", self.crowding, 1, MAX_CROWDING)
        if not isinstance(self.checked, bool):
            raise TypeError(f"checked must be True or False, got {quote(self.checked)}")

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        return self.forecast + 1 + self.checked

    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps (1 to 10,000)."""
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        count = 1 + ceil((num_steps - 1) / self.interval)
        keyframes = set(spaced(num_steps, count, self.crowding))
        jump = Step(Action.JUMP, 0.0, score_weights=(), checked=self.checked)
        return Plan(
            tuple(Step(Action.KEYFRAME) if i in keyframes else jump for i in range(num_steps))
        )


def spaced(num_steps: int, count: int, power: float = 1.0) -> tuple[int, ...]:
    """`count` different keyframes from step 0 to the last one, ascending.

    They lie at `1 - (1 - u)^power` of the run for evenly spaced u from 0 to 1; where two fall on
    the same step one gives way.
    """
    if count == 1:
        return (0,)
    places = [1 - (1 - i / (count - 1)) ** power for i in range(count)]
    chosen = [round(place * (num_steps - 1)) for place in places]
    for i in range(count - 2, 0, -1):
        chosen[i] = min(chosen[i], chosen[i + 1] - 1)
    for i in range(1, count):
        chosen[i] = max(chosen[i], chosen[i - 1] + 1)
    return tuple(chosen)
