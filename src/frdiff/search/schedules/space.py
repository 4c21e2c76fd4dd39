"""What a search chooses from: settings by step count, keyframes and tail, and their costs."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frdiff.policy import RangePolicy, TablePolicy, Targets
from frdiff.policy.jumps import spaced
from frdiff.search.schedules.paths import shortest_path
from frdiff.search.schedules.prices import Prices
from frdiff.search.schedules.shapes import Shape
from frdiff.search.weights.record import Recording
from frdiff.setting import Setting

__all__ = ["Space", "in_full", "table_of"]

SLACK = 1.2


def in_full(num_steps: int) -> TablePolicy:
    """The policy that computes everything at every step: the untouched pipeline, seen by a run."""
    return TablePolicy(num_steps, [(0,)] * num_steps, targets=())


def table_of(setting: Setting) -> TablePolicy:
    """The policy of a setting that a search made; of a range of guidance, for its least.

    What is computed at which step does not follow guidance.
    """
    if isinstance(setting.policy, RangePolicy):
        return setting.policy.tables[0]
    if not isinstance(setting.policy, TablePolicy):
        raise TypeError(f"a setting of a search has a table, got {setting.policy!r}")
    return setting.policy


@dataclass
class Space:
    """The settings of one subject.

    Attributes:
        num_steps: `num_inference_steps` of the full run.
        full: steps that it takes.
        varies_steps: whether other counts may be chosen.
        prices: of the targets, in the order in which they run.
        solvers: names of schedulers to choose from; None for the pipeline's own.
        length: steps of a run, given the solver and `num_inference_steps`.
        recorder: the recording of a full run, given the solver and `num_inference_steps`.
        steerer: a table of jumps steered by a recording, see `frdiff.search.weights.steer`.
        targets: see `Policy`; none where no step between keyframes reuses features.
        depths: how many stored features or scores a step may weigh.
        fits: whether weights may be fitted to a full run, and whether they may be extrapolation's;
            only those that may be fitted may be steered.
        tails: how many of the last targets every step may compute.
        kinds: what steps between keyframes may be: False for reuse steps, True for jumps.
        recordings: those made so far.
        steered: the settings steered so far, by shape and keyframes.
    """

    num_steps: int
    full: int
    varies_steps: bool
    prices: Prices
    solvers: Sequence[str | None]
    length: Callable[[str | None, int], int]
    recorder: Callable[[str | None, int], Recording]
    steerer: Callable[[Setting, Recording], TablePolicy]
    targets: Targets = "all"
    depths: Sequence[int] = (2, 3)
    fits: Sequence[bool] = (True, False)
    tails: Sequence[int] = (0, 1, 2, 3, 4, 6)
    kinds: Sequence[bool] = (False, True)
    recordings: dict[tuple[str | None, int], Recording] = field(default_factory=dict)
    steered: dict[tuple[Shape, tuple[int, ...]], Setting] = field(default_factory=dict)
    _costs: dict[tuple[str | None, int], np.ndarray | None] = field(default_factory=dict)

    def recording(self, solver: str | None, steps: int) -> Recording:
        """The recording of a full run, made once."""
        if (solver, steps) not in self.recordings:
            self.recordings[solver, steps] = self.recorder(solver, steps)
        return self.recordings[solver, steps]

    def keyframes(self, shape: Shape, count: int) -> tuple[int, ...]:
        """Where a shape puts so many keyframes."""
        run = (shape.solver, shape.steps)
        recording = self.recording(*run)
        if shape.power is not None:
            return spaced(recording.steps, count, shape.power)
        if run not in self._costs:
            self._costs[run] = recording.path_costs()
        costs = self._costs[run]
        return spaced(recording.steps, count) if costs is None else shortest_path(costs, count)

    def setting(self, shape: Shape, keyframes: Sequence[int]) -> Setting:
        """The setting of a shape with keyframes of its own."""
        make = self._jumping if shape.jumps else self._reusing
        recording = self.recording(shape.solver, shape.steps)
        found = Setting(shape.steps, make(recording, shape, keyframes), shape.solver)
        if not shape.steered or recording.influence is None:
            return found
        place = shape, tuple(keyframes)
        if place not in self.steered:
            self.steered[place] = replace(found, policy=self.steerer(found, recording))
        return self.steered[place]

    def _reusing(self, recording: Recording, shape: Shape, keyframes: Sequence[int]) -> TablePolicy:
        names = list(self.prices.saved)
        every = tuple(range(len(names)))
        between = every[len(names) - shape.tail :]
        return TablePolicy(
            recording.steps,
            [every if step in keyframes else between for step in range(recording.steps)],
            [(name,) for name in names],
            forecast_weights=recording.weights(keyframes, shape.depth) if shape.fitted else None,
            targets=self.targets,
        )

    def _jumping(self, recording: Recording, shape: Shape, keyframes: Sequence[int]) -> TablePolicy:
        steps = range(recording.steps)
        return TablePolicy(
            recording.steps,
            [(0,) if step in keyframes else () for step in steps],
            mixing_weights=[float(step in keyframes) for step in steps],
            score_weights=recording.score_weights(keyframes, shape.depth, shape.fitted),
            checked=shape.checked,
            targets=(),
        )

    def copying(self, keyframes: Sequence[int]) -> Setting:
        """The full run with the features of the last keyframe in between, as published."""
        rows = [(0,) if step in keyframes else () for step in range(self.full)]
        policy = TablePolicy(self.full, rows, forecast=0, targets=self.targets)
        return Setting(self.num_steps, policy)

    def fewer_steps(self, solver: str | None, budget: float) -> Setting | None:
        """The pipeline with as many steps as a budget pays for in full; None if with none."""
        steps = self.longest(solver, budget)
        if steps is None:
            return None
        return Setting(steps, in_full(self.length(solver, steps)), solver)

    def longest(self, solver: str | None, most: float) -> int | None:
        """The largest `num_inference_steps` whose run has at most so many steps; None if none."""
        if not self.varies_steps:
            return self.num_steps if self.length(solver, self.num_steps) <= most else None
        # Runs grow with what is asked for, and hardly slower than the full run's length tells.
        counts = range(1, math.ceil(SLACK * most * max(self.num_steps / self.full, 1)) + 1)

        def length(steps: int) -> float:
            # There are none of few steps where runs begin late, and none of very many.
            return self.length(solver, steps) or (math.inf if steps > self.num_steps else 0)

        found = bisect_right(counts, most, key=length)
        return found if found and self.length(solver, found) else None

    def counts(self, solvers: Sequence[str | None], lengths: Sequence[int]) -> list[int]:
        """Of `num_inference_steps`, those whose runs are about as long as asked for, ascending."""
        if not self.varies_steps:
            return [self.num_steps]
        pairs = itertools.product(solvers, lengths)
        found = {self.longest(solver, wanted) for solver, wanted in pairs}
        return sorted(steps for steps in found if steps is not None and steps > 1)

    def between(self, shape: Shape) -> float:
        """The cost of a step that is no keyframe, in full steps."""
        if shape.jumps:
            return self.prices.jump
        saved = list(self.prices.saved.values())
        return self.prices.reuse + sum(saved[len(saved) - shape.tail :])

    def cost(self, setting: Setting) -> float:
        """The cost of a run, in full steps."""
        table = table_of(setting)
        return self.prices.cost(table, table.num_steps)
