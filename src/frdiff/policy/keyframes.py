"""An explicit schedule of keyframes."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from frdiff.plan import Action, Plan
from frdiff.policy.base import MAX_STEPS, Policy, Targets
from frdiff.policy.checks import check_float, check_int, checked_list, quote
from frdiff.policy.storage import Storage

__all__ = ["KeyframePolicy"]


@dataclass(frozen=True)
class KeyframePolicy(Policy):
    """An explicit schedule for one step count.

    Attributes:
        num_steps: steps of the run this schedule is for.
        keyframes: indices computed in full; 0 must be among them.
        mixing_weights: one number in [0, 1] per step, 0 = jump, ignored at keyframes; None
            takes the reuse score alone on every step.
        forecast, targets, coordinate, storage: see `Policy`.
    """

    kind: ClassVar[str] = "keyframes"
    num_steps: int
    keyframes: Sequence[int]
    mixing_weights: Sequence[float] | None = None
    forecast: int = 0
    targets: Targets = "paper"
    coordinate: str = "step"
    storage: Storage | None = None

    def __post_init__(self) -> None:
        self._check_features()
        check_int("num_steps", self.num_steps, 1, MAX_STEPS)
        keyframes = checked_list("keyframes", self.keyframes)
        for index in keyframes:
            check_int("a keyframe", index, 0, self.num_steps - 1)
        if 0 not in keyframes:
            raise ValueError(f"step 0 must be a keyframe, got {quote(keyframes)}; add 0")
        if len(set(keyframes)) != len(keyframes):
            raise ValueError(f"keyframes must be different, got {quote(keyframes)}")
        object.__setattr__(self, "keyframes", tuple(sorted(keyframes)))
        if self.mixing_weights is None:
            return
        weights = checked_list("mixing_weights", self.mixing_weights)
        if len(weights) != self.num_steps:
            raise ValueError(
                f"mixing_weights needs one number per step, {self.num_steps} in all, "
                f"got {len(weights)}"
            )
        for weight in weights:
            check_float("a mixing weight", weight, 0.0, 1.0)
        object.__setattr__(self, "mixing_weights", tuple(weights))

    @property
    def reuses(self) -> bool:
        """Whether the run has a reuse step."""
        return self.plan(self.num_steps).count(Action.REUSE) > 0

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        return int(any(step.mixing_weight < 1 for step in self.plan(self.num_steps)))

    def plan(self, num_steps: int) -> Plan:
        """The explicit table.

        Raises:
            ValueError: `num_steps` is not the step count this policy was made for.
        """
        self._check_made_for(self.num_steps, num_steps, f"use policy.resample({num_steps})")
        weights = self.mixing_weights or (1.0,) * num_steps
        return Plan.from_keyframes(set(self.keyframes), list(weights))

    def resample(self, num_steps: int) -> "KeyframePolicy":
        """The same schedule for a run of another length.

        Keyframes and mixing weights keep their place as a fraction of the run. Keyframes that
        fall on the same step become one, so fewer steps have fewer keyframes.
        """
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        scale = (num_steps - 1) / max(self.num_steps - 1, 1)
        keyframes = sorted({round(index * scale) for index in self.keyframes})
        weights = None
        if self.mixing_weights is not None:
            # A keyframe's own weight means nothing, so each step asks the nearest other step.
            free = [i for i in range(self.num_steps) if i not in self.keyframes]
            weights = [
                self.mixing_weights[_nearest(free, i / scale if scale else 0.0)] if free else 1.0
                for i in range(num_steps)
            ]
        return replace(self, num_steps=num_steps, keyframes=keyframes, mixing_weights=weights)


def _nearest(ascending: list[int], value: float) -> int:
    place = bisect.bisect_left(ascending, value)
    return min(ascending[max(place - 1, 0) : place + 1], key=lambda item: abs(item - value))
