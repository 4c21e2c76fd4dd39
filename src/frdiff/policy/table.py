"""The explicit table: for every step, which groups of targets to compute, and all weights."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from frdiff.plan import Action, Plan, Step
from frdiff.policy.base import MAX_STEPS, Policy, Targets
from frdiff.policy.checks import (
    MAX_WEIGHT,
    built,
    check_float,
    check_int,
    check_weights,
    checked_list,
    quote,
    sums_to_one,
)
from frdiff.policy.origin import Origin, config_hash
from frdiff.policy.storage import Storage
from frdiff.schedulers.levels import noise_coordinates

__all__ = ["MAX_WEIGHTS", "TablePolicy"]

MAX_GROUPS = 1000
MAX_LEVEL = 1e4
MAX_WEIGHTS = 4


@dataclass(frozen=True)
class TablePolicy(Policy):
    """What `tune` finds: every other policy for one step count is a special case.

    Attributes:
        num_steps: steps of the run this table is for.
        computed: per step, the numbers of the groups computed: all of them make a keyframe, as
            at step 0; none, or some, a reuse step.
        groups: wildcards over target names, group by group. A target belongs to the first group
            that names it, and must belong to one.
        mixing_weights: per step, the share of the reuse score in [0, 1], 0 = jump, ignored at
            keyframes; None takes the reuse score alone.
        score_weights: per step, weights of the last keyframes' scores, newest first, a keyframe's
            own as its first; None takes the last one. They may sum to anything: a solver's step
            is as long as its score.
        sample_weights: per step, how much of the sample, as the denoiser gets it, is added to the
            score of a keyframe or jump; None adds none.
        guidance_weights: per step, by how much the guidance scale is another at a keyframe: of how
            the halves of its score differ, the second less the first, so much is added to both.
            Where a call has no halves, as without guidance, nothing is; None adds none anywhere.
        noise_levels: logarithm of the noise level of every step, falling, laid on the scheduler
            when it sets its timesteps; None leaves it its own.
        forecast_weights: per step and group, weights of the group's last stored features, newest
            first, summing to 1; None extrapolates, at every step or at one.
        checked: hold the jumps back where the last keyframes did not move as their extrapolation of
            order `forecast` would have it, see `JumpPolicy`: of how the scores of a jump differ
            from the last one a sample takes the share that explains its last keyframe.
        forecast, targets, coordinate, storage: see `Policy`; without a reuse step `targets` may be
            `()`, and nothing is hooked but the denoiser itself.
        origin: what it was tuned for; a run on anything else is refused. None fits wherever its
            targets are found.
    """

    kind: ClassVar[str] = "table"
    num_steps: int
    computed: Sequence[Sequence[int]]
    groups: Sequence[Sequence[str]] = (("*",),)
    mixing_weights: Sequence[float] | None = None
    score_weights: Sequence[Sequence[float]] | None = None
    sample_weights: Sequence[float] | None = None
    guidance_weights: Sequence[float] | None = None
    noise_levels: Sequence[float] | None = None
    forecast_weights: Sequence[Sequence[Sequence[float]] | None] | None = None
    checked: bool = False
    forecast: int = 1
    targets: Targets = "all"
    coordinate: str = "step"
    storage: Storage | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.targets in ((), []):
            self._set("targets", ())
            self._check_forecast()
        else:
            self._check_features()
        check_int("num_steps", self.num_steps, 1, MAX_STEPS)
        self._set("groups", self._checked_groups())
        self._set("computed", self._checked_computed())
        if self.mixing_weights is not None:
            weights = self._per_step("mixing_weights", self.mixing_weights)
            for weight in weights:
                check_float("a mixing weight", weight, 0.0, 1.0)
            self._set("mixing_weights", tuple(weights))
        if self.score_weights is not None:
            rows = self._per_step("score_weights", self.score_weights)
            said = "score weights of a step"
            checked = [check_weights(said, row, MAX_WEIGHTS, free=True) for row in rows]
            self._set("score_weights", tuple(checked))
        for kind in ("sample", "guidance"):
            name = f"{kind}_weights"
            if getattr(self, name) is not None:
                weights = self._per_step(name, getattr(self, name))
                for weight in weights:
                    check_float(f"a {kind} weight", weight, -MAX_WEIGHT, MAX_WEIGHT)
                self._set(name, tuple(weights))
        if self.noise_levels is not None:
            levels = self._per_step("noise_levels", self.noise_levels)
            for level in levels:
                check_float("a noise level", level, -MAX_LEVEL, MAX_LEVEL)
            if any(next_ >= level for level, next_ in pairwise(levels)):
                raise ValueError(f"noise_levels must fall from step to step, got {quote(levels)}")
            self._set("noise_levels", tuple(levels))
        if self.forecast_weights is not None:
            rows = self._per_step("forecast_weights", self.forecast_weights)
            self._set("forecast_weights", tuple(self._checked_forecast(row) for row in rows))
        if not isinstance(self.checked, bool):
            raise TypeError(f"checked must be True or False, got {quote(self.checked)}")
        self._check_enough_stored()
        if not self.targets and self.reuses:
            raise ValueError("a table without targets can have keyframes and jumps only")
        origin: object = self.origin
        # A file has it as an object of JSON.
        if origin is not None and not isinstance(origin, Origin):
            self._set("origin", built(Origin, "origin", origin))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        content = super().to_dict()
        if not self.checked:
            del content["checked"]  # as in files from before there was such a thing
        if self.guidance_weights is None:
            del content["guidance_weights"]  # likewise
        return content | {"origin": None if self.origin is None else self.origin.to_dict()}

    @property
    def reuses(self) -> bool:
        """Whether the run has a reuse step."""
        return self.plan(self.num_steps).count(Action.REUSE) > 0

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        plan = self.plan(self.num_steps)
        checks = any(step.checked for step in plan)
        return max(plan.score_depth, self.forecast + 2 if checks else 0)

    @property
    def computed_groups(self) -> frozenset[int]:
        """The groups of targets that some step with stored features computes."""
        rows = (row for row in self.computed if len(row) < len(self.groups))
        return frozenset(group for row in rows for group in row)

    @property
    def learnt(self) -> bool:
        """Whether anything fits the steps of one run alone.

        That is score weights that sum to other than 1, weights of samples and of guidance, and
        noise levels.
        """
        free = not all(map(sums_to_one, self.score_weights or ()))
        leans = any((*(self.sample_weights or ()), *(self.guidance_weights or ())))
        return free or leans or self.noise_levels is not None

    @property
    def opening(self) -> Step:
        """What step 0 does."""
        return self._step(0)

    @property
    def depth(self) -> int:
        """Features that must be kept per target."""
        rows = [row for row in self.forecast_weights or () if row is not None]
        return max([self.forecast + 1, *(len(weights) for row in rows for weights in row)])

    def plan(self, num_steps: int) -> Plan:
        """The explicit table.

        Raises:
            ValueError: `num_steps` is not the step count this policy was made for.
        """
        remedy = "tune for the new run" if self.learnt else "use policy.resample"
        self._check_made_for(self.num_steps, num_steps, remedy)
        return Plan(tuple(self._step(index) for index in range(num_steps)))

    def resample(self, scheduler: Any, num_inference_steps: int) -> "TablePolicy":
        """The same table for a run of another length or scheduler; measure what that loses.

        Beside policies tuned for that run it is 4 to 10 dB worse with a quarter fewer steps and 1
        to 8 with a quarter more, which can be worse than fewer steps in full, and less than 1 on
        levels even in time, where the last step leaves more than that (`bench/resampled.py`).

        Keyframes but the first go to the steps nearest in noise level; where two meet they become
        one. Every other step takes groups and weights of the nearest one that was no keyframe, and
        extrapolates where those want more features or scores than are there. A keyframe keeps its
        weights of earlier scores where as many steps lie between it and the one before it.

        Args:
            scheduler: of the new run; it is not changed.

        Raises:
            ValueError: the table has no origin, which knows its noise levels, or it or the
                scheduler tells none; or it is learnt.
        """
        if self.learnt:
            raise ValueError(
                "this table was learnt for its own steps and fits no others; tune for the new run"
            )
        if self.origin is None or not self.origin.noise_levels:
            raise ValueError("this table does not know its noise levels; tune for the new run")
        own = list(self.origin.noise_levels)
        scheduler = copy.deepcopy(scheduler)
        scheduler.set_timesteps(num_inference_steps)
        new = noise_coordinates(scheduler)
        keyframes = self.plan(self.num_steps).keyframes
        keys = {0: 0} | {_nearest(new, own[key]): key for key in keyframes[1:]}
        free = [i for i in range(self.num_steps) if len(self.computed[i]) < len(self.groups)]
        near = [free[_nearest([own[i] for i in free], level)] if free else 0 for level in new]
        source = [(i, keys.get(i, near[i])) for i in range(len(new))]
        stored = [sum(key < i for key in keys) for i in range(len(new))]
        # Scores that a step may weigh: a keyframe's own too, or only that.
        scored = [
            stored[i] + (i in keys) if i not in keys or _gap(keys, i) == _gap(keyframes, s) else 1
            for i, s in source
        ]
        forecast, scores, mixing = self.forecast_weights, self.score_weights, self.mixing_weights
        return replace(
            self,
            num_steps=len(new),
            computed=[self.computed[s] for _, s in source],
            mixing_weights=mixing and [1.0 if i in keys else mixing[s] for i, s in source],
            score_weights=scores
            and [scores[s] if len(scores[s]) <= scored[i] else (1.0,) for i, s in source],
            forecast_weights=forecast
            and [
                row
                if i not in keys and (row := forecast[s]) and max(map(len, row)) <= stored[i]
                else None
                for i, s in source
            ],
            origin=replace(
                self.origin,
                scheduler=type(scheduler).__name__,
                scheduler_hash=config_hash(scheduler),
                num_inference_steps=num_inference_steps,
                found_by="resample",
                noise_levels=new,
                figures={},
            ),
        )

    def _step(self, index: int) -> Step:
        computed = frozenset(self.computed[index])
        scores = (1.0,) if self.score_weights is None else tuple(self.score_weights[index])
        sample = 0.0 if self.sample_weights is None else self.sample_weights[index]
        if len(computed) == len(self.groups):
            guidance = 0.0 if self.guidance_weights is None else self.guidance_weights[index]
            return Step(
                Action.KEYFRAME,
                score_weights=scores,
                sample_weight=sample,
                guidance_weight=guidance,
            )
        weight = 1.0 if self.mixing_weights is None else self.mixing_weights[index]
        if weight == 0:
            return Step(
                Action.JUMP, 0.0, score_weights=scores, sample_weight=sample, checked=self.checked
            )
        row = None if self.forecast_weights is None else self.forecast_weights[index]
        forecast = None if row is None else tuple(tuple(weights) for weights in row)
        return Step(Action.REUSE, weight, computed, forecast, scores)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _per_step(self, name: str, value: object) -> list:
        rows = checked_list(name, value)
        if len(rows) != self.num_steps:
            raise ValueError(
                f"{name} needs one row per step, {self.num_steps} in all, got {len(rows)}"
            )
        return rows

    def _checked_groups(self) -> tuple[tuple[str, ...], ...]:
        groups = [
            checked_list("a group of targets", row) for row in checked_list("groups", self.groups)
        ]
        if not 1 <= len(groups) <= MAX_GROUPS:
            raise ValueError(f"groups must be 1 to {MAX_GROUPS} lists, got {len(groups)}")
        for group in groups:
            if not group or not all(isinstance(pattern, str) and pattern for pattern in group):
                raise ValueError(f"a group must be a list of wildcards, got {quote(group)}")
        return tuple(tuple(group) for group in groups)

    def _checked_computed(self) -> tuple[tuple[int, ...], ...]:
        rows = []
        for row in self._per_step("computed", self.computed):
            numbers = checked_list("the groups computed at a step", row)
            for number in numbers:
                check_int("a group", number, 0, len(self.groups) - 1)
            if len(set(numbers)) != len(numbers):
                raise ValueError(f"the groups of a step must be different, got {quote(numbers)}")
            rows.append(tuple(sorted(numbers)))
        if len(rows[0]) != len(self.groups):
            raise ValueError(f"step 0 must compute all groups, got {quote(rows[0])}")
        return tuple(rows)

    def _checked_forecast(self, row: object) -> tuple[tuple[float, ...], ...] | None:
        if row is None:
            return None
        groups = checked_list("the forecast weights of a step", row)
        if len(groups) != len(self.groups):
            raise ValueError(
                f"forecast weights of a step need one list per group, {len(self.groups)} in all, "
                f"got {len(groups)}"
            )
        return tuple(check_weights("forecast weights", weights, MAX_WEIGHTS) for weights in groups)

    def _check_enough_stored(self) -> None:
        """Refuse weights of features or scores that no earlier step has stored."""
        stored = [0] * len(self.groups)
        scores = 0
        for index, step in enumerate(self.plan(self.num_steps)):
            if step.action is Action.KEYFRAME:
                stored = [count + 1 for count in stored]
                scores += 1
                self._check_scores(index, step, scores)
                continue
            if self.guidance_weights and self.guidance_weights[index]:
                raise ValueError(
                    f"step {index} is no keyframe, so its score has no halves to weigh, got the "
                    f"guidance weight {self.guidance_weights[index]:g}"
                )
            if step.action is Action.JUMP and self.computed[index]:
                raise ValueError(
                    f"step {index} is a jump, so it can compute no group, got "
                    f"{quote(self.computed[index])}"
                )
            if step.mixing_weight < 1:
                self._check_scores(index, step, scores)
            if step.action is Action.REUSE and self.sample_weights and self.sample_weights[index]:
                raise ValueError(
                    f"step {index} reuses features, so it can add no sample to its score, got the "
                    f"weight {self.sample_weights[index]:g}"
                )
            for group, weights in enumerate(step.forecast_weights or ()):
                if group not in step.computed and len(weights) > stored[group]:
                    raise ValueError(
                        f"step {index} weighs {len(weights)} features of group {group}, "
                        f"{stored[group]} are stored before it"
                    )
            for group in step.computed:
                stored[group] += 1

    @staticmethod
    def _check_scores(index: int, step: Step, stored: int) -> None:
        if len(step.score_weights) > stored:
            raise ValueError(
                f"step {index} weighs {len(step.score_weights)} scores, the keyframes up to it "
                f"have {stored}"
            )


def _gap(keyframes: Iterable[int], keyframe: int) -> int:
    """Steps from the keyframe before it; 0 for the first."""
    return keyframe - max((key for key in keyframes if key < keyframe), default=keyframe)


def _nearest(levels: Sequence[float], wanted: float) -> int:
    """The first place whose level is nearest."""
    return min(range(len(levels)), key=lambda place: abs(levels[place] - wanted))
