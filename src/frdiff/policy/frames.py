"""Keyframes among the frames of a clip, and what lies between them taken from both sides."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import ClassVar

from frdiff.bank.forecast import extrapolation_weights
from frdiff.plan import Action, Plan, Step
from frdiff.policy.base import MAX_STEPS, Policy, Targets
from frdiff.policy.checks import check_float, check_int, quote
from frdiff.policy.storage import Storage

__all__ = ["FramePolicy", "Turn"]

MAX_ORDER = 3
PLACINGS = ("even", "moves")


@dataclass(frozen=True)
class Turn:
    """One frame in the order in which frames are made.

    Attributes:
        frame: its index in the clip.
        step: what is done for it.
        sources: the keyframes that it is made from, newest first; none for a keyframe.
    """

    frame: int
    step: Step
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class FramePolicy(Policy):
    """Reuse from frame to frame, for clips that `frdiff.frames.draw` makes; any number of frames.

    Frames are not made in their order: a frame between keyframes waits for those after it, so that
    its features are interpolated, not extrapolated.

    Attributes:
        interval: frames from one keyframe to the next, on average, 1 or more. Larger is faster.
        order: of the interpolation, 0 to 3: 0 copies the last keyframe, 1 takes one on either
            side, 3 two on either side. A clip's last keyframes have fewer after them.
        targets: see `Policy`; `()` stores no features: whole frames are interpolated, and the
            network is not called between keyframes.
        placing: `"even"`, or `"moves"`: keyframes lie closer where the inputs move faster.
        storage: see `Policy`.
    """

    kind: ClassVar[str] = "frames"
    forecast = 0
    coordinate = "step"
    interval: float
    order: int = 3
    targets: Targets = "all"
    placing: str = "even"
    storage: Storage | None = None

    def __post_init__(self) -> None:
        if self.targets in ((), []):
            object.__setattr__(self, "targets", ())
        else:
            self._check_features()
        check_float("interval", self.interval, 1, MAX_STEPS)
        check_int("order", self.order, 0, MAX_ORDER)
        if self.placing not in PLACINGS:
            raise ValueError(f"placing must be one of {PLACINGS}, got {quote(self.placing)}")

    @property
    def reuses(self) -> bool:
        """Whether any clip under this policy can have a frame that is made of stored features."""
        return self.interval > 1 and self.targets != ()

    @property
    def score_depth(self) -> int:
        """Whole frames that must be kept."""
        return 0 if self.targets != () or self.interval == 1 else self.order + 1

    @property
    def depth(self) -> int:
        """Features that must be kept per target."""
        return self.order + 1

    def plan(self, num_steps: int) -> Plan:
        """The table for a clip of `num_steps` frames that moves evenly, in the order of making."""
        return Plan(tuple(turn.step for turn in self.turns([1.0] * (num_steps - 1))))

    def turns(self, moves: Sequence[float]) -> list[Turn]:
        """What is done for every frame of a clip, in the order of making.

        Args:
            moves: how far each input but the first lies from the one before it, 0 or more.

        Raises:
            ValueError: too many frames.
        """
        num_frames = len(moves) + 1
        check_int("the number of frames", num_frames, 1, MAX_STEPS)
        keyframes = self._keyframes(moves)
        free = deque(sorted({*range(num_frames)} - {*keyframes}))
        turns = []
        for number, keyframe in enumerate(keyframes):
            turns.append(Turn(keyframe, Step(Action.KEYFRAME)))
            newest = keyframes[max(number - self.order, 0) : number + 1][::-1]
            following = keyframes[number + 1] if number + 1 < len(keyframes) else None
            while free and self._can_make(free[0], newest, following):
                turns.append(self._between(free.popleft(), newest))
        return turns

    def _keyframes(self, moves: Sequence[float]) -> list[int]:
        """The keyframes, ascending: the first frame, the last, and others between them."""
        last = len(moves)
        places = list(accumulate(moves, initial=0.0))
        if self.placing == "even" or places[-1] == 0:
            places = [float(frame) for frame in range(last + 1)]
        between = places[-1] / max(last, 1) * self.interval
        wanted = [number * between for number in range(ceil(last / self.interval))]
        near = [min(range(last), key=lambda i: abs(places[i] - at)) for at in wanted]
        return sorted({0, *near, last})

    def _can_make(self, frame: int, newest: Sequence[int], following: int | None) -> bool:
        """Whether a frame between keyframes has those that it waits for.

        Args:
            newest: the last keyframes made, newest first.
            following: the next one; None after the last.
        """
        ahead = sum(key > frame for key in newest)
        return following is None or (frame < following and ahead >= (self.order + 1) // 2)

    def _between(self, frame: int, newest: Sequence[int]) -> Turn:
        """What is done for a frame between keyframes, of which the newest lie around it."""
        weights = tuple(extrapolation_weights(newest, frame))
        if self.targets == ():
            step = Step(Action.JUMP, 0.0, score_weights=weights)
        else:
            step = Step(Action.REUSE, forecast_weights=(weights,))
        return Turn(frame, step, tuple(newest))
