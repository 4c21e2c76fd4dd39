"""What a search chooses from: settings by step count, keyframes and tail, and their costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from frdiff.policy import TablePolicy, Targets
from frdiff.search.prices import Prices
from frdiff.search.record import Recording
from frdiff.setting import Setting

__all__ = ["Space", "in_full"]


def in_full(num_steps: int, targets: Targets = "all") -> TablePolicy:
    """The policy that computes everything at every step: the untouched pipeline, seen by a run."""
    return TablePolicy(num_steps, [(0,)] * num_steps, targets=targets)


@dataclass
class Space:
    """The settings of one subject.

    Attributes:
        num_steps: of the full run, `num_inference_steps`.
        prices: of the targets, in the order in which they run.
        solvers: names of schedulers to choose from; None for the pipeline's own.
        counts: of `num_inference_steps` to choose from, given the solver and wanted ones.
        recorder: the recording of a full run, given the solver and `num_inference_steps`.
        targets: see `Policy`.
        depth: features that a forecast weighs at most; 0 extrapolates linearly instead.
        tails: how many of the last targets every step may compute.
    """

    num_steps: int
    prices: Prices
    solvers: Sequence[str | None]
    counts: Callable[[str | None, Sequence[int]], list[int]]
    recorder: Callable[[str | None, int], Recording]
    targets: Targets = "all"
    depth: int = 3
    tails: Sequence[int] = (0, 1, 2, 3, 4, 6)
    _recordings: dict[tuple[str | None, int], Recording] = field(default_factory=dict)

    def recording(self, solver: str | None, steps: int) -> Recording:
        """The recording of a full run, made once."""
        if (solver, steps) not in self._recordings:
            self._recordings[solver, steps] = self.recorder(solver, steps)
        return self._recordings[solver, steps]

    def setting(
        self, solver: str | None, steps: int, keyframes: Sequence[int], tail: int = 0
    ) -> Setting:
        """The setting that computes all targets at `keyframes`, the last `tail` at every step."""
        names = list(self.prices.saved)
        between = tuple(range(len(names) - tail, len(names)))
        every = tuple(range(len(names)))
        recording = self.recording(solver, steps)
        policy = TablePolicy(
            recording.steps,
            [every if step in keyframes else between for step in range(recording.steps)],
            [(name,) for name in names],
            forecast_weights=recording.weights(keyframes, self.depth) if self.depth else None,
            targets=self.targets,
        )
        return Setting(steps, policy, solver)

    def fewer_steps(self, solver: str | None, steps: int) -> Setting:
        """The pipeline with fewer steps, everything computed."""
        return Setting(steps, in_full(steps, self.targets), solver)

    def between(self, tail: int) -> float:
        """The cost of a step that computes the last `tail` targets alone, in full steps."""
        saved = list(self.prices.saved.values())
        return self.prices.reuse + sum(saved[len(saved) - tail :])

    def cost(self, setting: Setting) -> float:
        """The cost of a run, in full steps."""
        if not isinstance(setting.policy, TablePolicy):
            raise TypeError(f"a setting of a search has a table, got {setting.policy!r}")
        return self.prices.cost(setting.policy, setting.policy.num_steps)
