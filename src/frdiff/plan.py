"""A plan: the explicit table of what happens at each step of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Action", "Plan", "Step"]


class Action(StrEnum):
    """What a step does with the denoiser."""

    KEYFRAME = "keyframe"
    """Runs it in full and stores its features."""
    REUSE = "reuse"
    """Runs it with stored or forecast features in place of the targets."""
    JUMP = "jump"
    """Does not run it: the score is made from those of earlier keyframes."""
    HALF = "half"
    """Runs it for one half of guidance: the other follows from how the halves differed before."""


@dataclass(frozen=True)
class Step:
    """One row of a plan.

    Attributes:
        action: keyframe, reuse, jump or half.
        mixing_weight: share of the reuse score in the score, in [0, 1]. 1 on keyframes and on
            plain reuse steps, 0 on jumps.
        computed: numbers of the target groups that a reuse step computes, and stores, all the
            same.
        forecast_weights: of every group's last stored features, newest first, each summing to 1;
            None extrapolates.
        score_weights: of the last keyframes' scores, newest first; what a jump takes, and what is
            mixed in where the mixing weight is below 1; none extrapolates from all that are kept.
            A keyframe's own score is the first of its own, and what it takes is their sum: more
            than one make up for what the steps before it missed.
        sample_weight: of the sample as the denoiser gets it, added to the score of a keyframe or
            jump.
        guidance_weight: of how the halves of a keyframe's score differ, added to both of them: by
            so much the guidance scale is another there, see `frdiff.network.halves`.
        checked: whether a jump's extrapolation goes only as far as the last keyframe bears it out,
            see `frdiff.bank.forecast.trust`.
        half: which half such a step computes, 0 or 1.
        threshold: change of group 0 since the last keyframe beyond which a reuse step becomes one;
            None decides nothing while sampling.
    """

    action: Action
    mixing_weight: float = 1.0
    computed: frozenset[int] = frozenset()
    forecast_weights: tuple[tuple[float, ...], ...] | None = None
    score_weights: tuple[float, ...] = (1.0,)
    sample_weight: float = 0.0
    guidance_weight: float = 0.0
    checked: bool = False
    half: int = 1
    threshold: float | None = None

    @property
    def corrects(self) -> bool:
        """Whether it is a keyframe that does not take its own score as it is."""
        as_it_is = self.score_weights in ((), (1.0,))
        leans = self.sample_weight or self.guidance_weight
        return self.action is Action.KEYFRAME and bool(leans or not as_it_is)


@dataclass(frozen=True)
class Plan:
    """The steps of a run; step 0 is a keyframe.

    Attributes:
        steps: one row per step.
    """

    steps: tuple[Step, ...]

    @classmethod
    def from_keyframes(cls, keyframes: set[int], mixing_weights: list[float]) -> "Plan":
        """The plan that computes at `keyframes` and takes the other steps' weights as given.

        Args:
            keyframes: indices computed in full.
            mixing_weights: one per step, ignored at keyframes; 0 makes a step a jump.
        """

        def row(index: int, weight: float) -> Step:
            if index in keyframes:
                return Step(Action.KEYFRAME)
            return Step(Action.REUSE if weight > 0 else Action.JUMP, weight)

        return cls(tuple(row(i, weight) for i, weight in enumerate(mixing_weights)))

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, index: int) -> Step:
        return self.steps[index]

    def replaced(self, index: int, step: Step) -> "Plan":
        """The plan with another step at `index`."""
        return Plan((*self.steps[:index], step, *self.steps[index + 1 :]))

    def count(self, action: Action) -> int:
        """The number of steps with this action."""
        return sum(step.action is action for step in self.steps)

    @property
    def score_depth(self) -> int:
        """The most scores that a step weighs; 0 if none weighs an earlier one."""
        weighed = (
            len(step.score_weights)
            for step in self.steps
            if step.mixing_weight < 1 or step.corrects
        )
        return max(weighed, default=0)

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Indices of the keyframes, ascending."""
        return tuple(i for i, step in enumerate(self.steps) if step.action is Action.KEYFRAME)
