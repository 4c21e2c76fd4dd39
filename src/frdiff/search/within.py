"""The default search: the best policy found within one budget.

First the pipeline with fewer steps, and as many that follow the converged solution; then the few
numbers of a shape, then single keyframes, all on the true error of whole runs, with forecasts
fitted to every schedule. Fewer steps are a candidate like any other, so nothing worse than that is
chosen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from frdiff.schedulers.named import crossed
from frdiff.search.measure import Measure, worst_middle
from frdiff.search.options import Options
from frdiff.search.schedules.climb import climb
from frdiff.search.schedules.shapes import Shape, affordable, ladder, neighbours
from frdiff.search.schedules.space import Space, table_of
from frdiff.setting import Setting

__all__ = ["Candidate", "OnFound", "OutOfReachError", "fewer_steps", "search_within"]


# Times as many steps as the full run has, at most.
MOST = 2
# Where shapes begin, at several step counts.
STARTS = (
    Shape(0, power=1.0, depth=2, fitted=False, jumps=True, steered=True),
    Shape(0, power=1.3, depth=2, fitted=False, jumps=True, steered=True),
    Shape(0, power=1.0, depth=2, fitted=False, jumps=True, checked=True),
    Shape(0),
)
BEST = 1.75  # times as many steps as the budget pays for in full
# Of fewer steps, those that are measured on all samples.
FINALISTS = 4
# Solvers looked at with reuse and jumps: those that are best with fewer steps.
SOLVERS = 2


class OutOfReachError(ValueError):
    """A budget that pays for no run at all."""


@dataclass(frozen=True)
class Candidate:
    """A setting within the budget.

    Attributes:
        found_by: the part of the search that proposed it.
        cost: in full steps.
        quality: on the calibration set, in dB.
    """

    found_by: str
    setting: Setting
    cost: float
    quality: float


OnFound = Callable[[Candidate, int], None]
Following = Callable[[Sequence[Setting]], Sequence[Setting]]


class _Search:
    """Counts what it measures, and keeps the best of every part."""

    def __init__(
        self, space: Space, measure: Measure, evaluations: int, quantile: float, on_found: OnFound
    ) -> None:
        self.space = space
        self.measure = measure
        self.quantile = quantile
        self.on_found = on_found
        self.last = len(measure.asked) + evaluations

    @property
    def left(self) -> int:
        return self.last - len(self.measure.asked)

    def qualities(self, settings: Sequence[Setting], found_by: str) -> list[float]:
        """Higher is better."""
        measure = self.measure
        found = [measure.quality(values, self.quantile) for values in measure(settings)]
        for setting, quality in zip(settings, found, strict=True):
            self.on_found(self.candidate(found_by, setting, quality), self.left)
        return found

    def candidate(self, found_by: str, setting: Setting, quality: float) -> Candidate:
        return Candidate(found_by, setting, self.space.cost(setting), quality)

    def at_par(self, rivals: Sequence[Candidate]) -> list[Candidate]:
        """The rivals again, what the best of them has at each guidance worth the same."""
        settings = [rival.setting for rival in rivals]
        values = self.measure(settings)
        self.measure.par = self.measure.par_of(values, self.quantile)
        found = [
            replace(rival, quality=self.measure.quality(own, self.quantile))
            for rival, own in zip(rivals, values, strict=True)
        ]
        return sorted(found, key=lambda rival: -rival.quality)

    def ranked(self, settings: Sequence[Setting], found_by: str) -> list[Candidate]:
        """The best first."""
        qualities = self.qualities(settings, found_by)
        candidates = [
            self.candidate(found_by, setting, quality)
            for setting, quality in zip(settings, qualities, strict=True)
        ]
        return sorted(candidates, key=lambda candidate: -candidate.quality)


def search_within(
    budget: float,
    space: Space,
    measure: Measure,
    *,
    evaluations: int,
    options: Options = Options(),  # noqa: B008  (frozen)
    generation: int = 4,
    following: Following = lambda rivals: (),
    on_found: OnFound = lambda candidate, left: None,
) -> list[Candidate]:
    """The best candidate of every part of the search, "fewer steps" first.

    Args:
        budget: cost of a run, in full steps.
        evaluations: settings to measure at most, fewer steps not counted; two thirds of them
            for shapes.
        options: whether keyframes vary: single ones are moved at last, of the best shape and of the
            best one with another step count; only if nothing else is better than the first.
        generation: settings measured at a time; the result depends on it, and on nothing else
            about how they are measured.
        following: settings that follow the converged solution in as many steps as one in full.
        on_found: called with each candidate measured and the number left to measure.

    Raises:
        OutOfReachError: the budget pays for no run.
    """
    search = _Search(space, measure, evaluations, options.quantile, on_found)
    measure.par = {}  # of another budget
    rivals = search.ranked(_best(search, fewer_steps(budget, space, space.solvers)), "fewer steps")
    known = [rival.setting.scheduler for rival in rivals]
    others = [solver for solver in crossed(known) if solver not in space.solvers]
    rivals += search.ranked(_best(search, fewer_steps(budget, space, others)), "fewer steps")
    rivals = search.at_par(rivals)
    found = rivals[:1]
    followers = following([rival.setting for rival in rivals])
    found += search.ranked(followers, "following")[:1]
    search.last = len(measure.asked) + evaluations
    solvers = [rival.setting.scheduler for rival in rivals[:SOLVERS]] or space.solvers
    shapes = _descend(search, budget, solvers, max(evaluations * 2 // 3, 1))
    if not found and not shapes:
        raise OutOfReachError(f"a budget of {budget:.2f} full steps pays for no run")
    found += [candidate for _, candidate in shapes[:1]]
    leads = bool(shapes) and shapes[0][1] == max(found, key=lambda one: one.quality)
    moves = leads and "keyframes" in options.vary
    for number, (shape, start) in enumerate(shapes if moves else ()):
        share = search.left // (len(shapes) - number)
        found.append(_climbed(search, shape, start, share, options.seed, generation))
    return found


def _best(search: _Search, settings: Sequence[Setting]) -> list[Setting]:
    """The settings that are among the best on the first samples, best first."""
    measure = search.measure
    glanced = measure.glance(settings)
    par = measure.par_of(glanced, search.quantile)
    glances = [worst_middle(measure.paired(values), search.quantile, par) for values in glanced]
    for setting, quality in zip(settings, glances, strict=True):
        search.on_found(search.candidate("fewer steps", setting, quality), search.left)
    order = sorted(range(len(settings)), key=lambda number: -glances[number])
    return [settings[number] for number in order[:FINALISTS]]


def fewer_steps(budget: float, space: Space, solvers: Sequence[str | None]) -> list[Setting]:
    """As many steps as the budget pays for, by solver."""
    settings = (space.fewer_steps(solver, budget) for solver in solvers)
    return [setting for setting in settings if setting is not None]


def _descend(
    search: _Search, budget: float, solvers: Sequence[str | None], evaluations: int
) -> list[tuple[Shape, Candidate]]:
    """The best shape, from the best of a few far apart to whichever neighbour is better.

    After it comes the best one with another step count.

    Args:
        solvers: to choose from; shapes begin with the first.
    """
    space = search.space
    until = search.left - evaluations

    def paid_for(shape: Shape) -> int:
        return affordable(budget, space.length(shape.solver, shape.steps), space.between(shape))

    def is_worth_it(shape: Shape) -> bool:
        return 1 < paid_for(shape) < space.length(shape.solver, shape.steps)

    def setting(shape: Shape) -> Setting:
        return space.setting(shape, space.keyframes(shape, paid_for(shape)))

    steps = space.counts(solvers, ladder(budget, MOST * space.num_steps))
    # First a coarse look over all step counts, nearest first to those where shapes mostly end.
    counts = sorted(steps[1::3] or steps, key=lambda count: abs(math.log(count / (BEST * budget))))
    coarse = [
        replace(
            start,
            steps=count,
            solver=solvers[0],
            fitted=start.fitted and space.fits[0],
            steered=start.steered and space.fits[0],
        )
        for count in counts
        for start in STARTS
        if start.jumps in space.kinds
    ]
    frontier = [shape for shape in coarse if is_worth_it(shape)]
    known: dict[Shape, float] = {}
    while frontier and search.left > until:
        frontier = frontier[: search.left - until]
        qualities = search.qualities([*map(setting, frontier)], "shape")
        known |= zip(frontier, qualities, strict=True)
        best = max(known, key=lambda shape: known[shape])
        frontier = [
            shape
            for shape in neighbours(best, steps, solvers, space.tails, space.depths, space.fits)
            if shape not in known and is_worth_it(shape)
        ]
    ranked = sorted(known, key=lambda shape: -known[shape])
    others = [shape for shape in ranked if shape.steps != ranked[0].steps]
    return [
        (shape, search.candidate("shape", setting(shape), known[shape]))
        for shape in ranked[:1] + others[:1]
    ]


def _climbed(
    search: _Search,
    shape: Shape,
    start: Candidate,
    evaluations: int,
    seed: int,
    generation: int,
) -> Candidate:
    """The best after moving single keyframes."""
    policy = table_of(start.setting)

    def setting(keyframes: tuple[int, ...]) -> Setting:
        return search.space.setting(shape, keyframes)

    def evaluate(schedules: Sequence[tuple[int, ...]]) -> list[float]:
        return [-quality for quality in search.qualities([*map(setting, schedules)], "keyframes")]

    keyframes, value = climb(
        policy.plan(policy.num_steps).keyframes,
        policy.num_steps,
        evaluate,
        evaluations=evaluations + 1,
        seed=seed,
        generation=generation,
    )
    return search.candidate("keyframes", setting(keyframes), -value)
