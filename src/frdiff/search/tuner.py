"""A tuner: searches within budgets, and lets samples it has not searched on have a say."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import numpy as np

from frdiff.policy import Origin, Policy, RangePolicy, TablePolicy, config_hash
from frdiff.policy.conditions import GUIDANCE
from frdiff.schedulers.levels import noise_coordinates
from frdiff.search.measure import Measure, standard_error, worst_middle
from frdiff.search.options import Options
from frdiff.search.room import calls_in, fitted
from frdiff.search.schedules.shapes import Shape, affordable
from frdiff.search.schedules.space import Space, in_full, table_of
from frdiff.search.solvers import Truth
from frdiff.search.subject import LoopSubject, Subject, guidance_range, scheduler_of
from frdiff.search.weights.guide import Guide
from frdiff.search.weights.learn import Learnt
from frdiff.search.within import (
    Candidate,
    OnFound,
    OutOfReachError,
    fewer_steps,
    search_within,
)
from frdiff.setting import Setting
from frdiff.version import __version__

__all__ = ["AGREED", "RECORDED", "Learner", "Tuned", "Tuner", "about", "versions"]

RECORDED = 4  # samples of which full runs are recorded
AGREED = 2  # samples from which the converged solution is chosen
STEP_DOWN = 0.9
BUDGETS = 22
SURE = 1.645  # standard errors that a quality is above what was asked: 19 times of 20
WORTH = 4  # full runs, spent on policies of one budget
RUNS = 29.5  # full runs that all takes: what is left of them is spent on learning the best
RANGE = 10  # more of them for a range of guidance
LEARNING = 4  # full runs, spent on that at least
FINALISTS = 6  # about so many are measured on the other half as well
LIBRARIES = ("diffusers", "torch")

Learner = Callable[[Setting, float], Learnt | None]


def about(budgets: int, is_range: bool) -> float:
    """Full runs of one half that searches take, as far as is known before they begin."""
    return budgets * (RUNS + (RANGE if is_range else 0))


@dataclass(frozen=True)
class Tuned:
    """What a search within one budget came to.

    Attributes:
        policy: with its origin.
        candidates: the best of every part of the search, fewer steps first.
        held_out: their decibels on the samples that were not searched on.
        chosen: which of them the policy is.
    """

    policy: TablePolicy | RangePolicy
    candidates: tuple[Candidate, ...]
    held_out: tuple[tuple[float, ...], ...]
    chosen: int


@dataclass(frozen=True)
class Tuner:
    """Everything a search needs but the budget.

    Attributes:
        calibration: measures what is searched on.
        held_out: measures what was found.
        truth: what is measured against.
        options: how to search.
        learner: a setting's table learnt within steps computed of the calibration half; None where
            weights are not to be chosen.
        guide: knows where the converged solution passes; None where weights are not to be chosen.
        learnt: what learning came to, by setting.
    """

    subject: Subject
    space: Space
    calibration: Measure
    held_out: Measure
    truth: Truth
    options: Options
    learner: Learner | None = None
    guide: Guide | None = None
    learnt: dict[Setting, Learnt] = field(default_factory=dict)

    def evaluations(self, budget: float) -> int:
        """How many policies are worth measuring, within a budget in full steps."""
        return max(round(WORTH * self.space.full / budget), 1)

    def expected_runs(self, budgets: Sequence[float]) -> float:
        """Full runs of the calibration half that searches within some budgets take, about."""
        truths = self._truths / self.space.full
        total = truths + 1  # the full run itself
        for budget in budgets:
            known = self.evaluations(budget)
            share = (self.options.evaluations or known) / known
            measured = share * WORTH + FINALISTS * budget / self.space.full
            left = max(about(1, self._is_range) - truths - measured, LEARNING)
            total += measured + (0 if self.learner is None else share * left)
        return total

    def within(self, budget: float, evaluations: int | None, on_found: OnFound) -> Tuned:
        """The best policy that costs at most `budget` full steps.

        Args:
            evaluations: policies to measure; None for `self.evaluations(budget)`.
        """
        before = self._spent()
        evaluations = evaluations or self.evaluations(budget)
        candidates = search_within(
            budget,
            self.space,
            self.calibration,
            evaluations=evaluations,
            options=self.options,
            following=self._following,
            on_found=on_found,
        )
        # The converged solution, this search, the finalists on the other half, and what is learnt.
        finalists = sum(candidate.cost for candidate in candidates) + 2 * candidates[-1].cost
        taken = self._spent() - before + (self._truths + finalists) / self.space.full
        share = evaluations / self.evaluations(budget)
        runs = share * max(about(1, self._is_range) - taken, LEARNING)
        return self._decided(candidates + self._learnt(candidates, runs))

    @property
    def _is_range(self) -> bool:
        low, high = guidance_range(self.calibration.batches) or (0, 0)
        return low < high

    def _following(self, rivals: Sequence[Setting]) -> list[Setting]:
        """Settings that follow the converged solution in as many steps as fewer steps have."""
        return [] if self.guide is None else self.guide.settings(rivals, self.calibration)

    def _learnt(self, candidates: list[Candidate], runs: float) -> list[Candidate]:
        """The candidate of the most keyframes with its numbers learnt, if that is paid for.

        Of several the best. What is learnt makes up for where steps are and what jumps miss, not
        for scores that were never computed.
        """
        if self.learner is None:
            return []

        def promise(candidate: Candidate) -> tuple[int, float]:
            table = table_of(candidate.setting)
            return len(table.plan(table.num_steps).keyframes), candidate.quality

        start = max(candidates, key=promise).setting
        learnt = self.learner(start, runs * self.space.full)
        if learnt is None:
            return []
        self.learnt[start] = learnt
        setting = replace(start, policy=learnt.policy)
        quality = self.calibration.quality(self.calibration([setting])[0], self.options.quantile)
        return [Candidate("learning", setting, self.space.cost(setting), quality)]

    def keyframes_within(self, budget: float) -> int:
        """How many steps of the full run can compute, at least one.

        Raises:
            ValueError: the others alone cost more than the budget.
        """
        between = self.space.between(Shape(self.space.num_steps))
        count = affordable(budget, self.space.full, between)
        if count < 1:
            raise ValueError(
                f"{self.space.full} steps cannot cost {budget:.2f} full ones: one with stored "
                f"features costs {between:.2f}; give a larger budget, or targets='all'"
            )
        return count

    def by_gates(self, budget: float, keyframes: Sequence[int], spent: float) -> Tuned:
        """The policy of keyframes learnt by gates.

        Args:
            keyframes: of the full run, see `frdiff.search.gates`.
            spent: on learning them, in full runs of the calibration half.
        """
        space = self.space
        settings = [*fewer_steps(budget, space, space.solvers), space.copying(keyframes)]
        names = ["fewer steps"] * (len(settings) - 1) + ["gates"]
        candidates = [
            Candidate(
                name,
                setting,
                space.cost(setting),
                self.calibration.quality(values, self.options.quantile),
            )
            for name, setting, values in zip(
                names, settings, self.calibration(settings), strict=True
            )
        ]
        return self._decided(candidates, chosen=len(candidates) - 1, spent=spent)

    def _decided(
        self, candidates: list[Candidate], chosen: int | None = None, spent: float = 0.0
    ) -> Tuned:
        """The candidate that is best on both halves, or the one chosen already.

        None that is worse than fewer steps on the held-out half.
        """
        settings = [candidate.setting for candidate in candidates]
        held_out, calibrated = self.held_out(settings), self.calibration(settings)
        has_rival = candidates[0].found_by == "fewer steps"
        par = self.calibration.par
        # The scales of a range that this half is drawn at are others.
        rivals = held_out[:1] if par and has_rival else []
        self.held_out.par = self.held_out.par_of(rivals, self.options.quantile)
        par = self.held_out.par | par if rivals else {}
        qualities = [self.held_out.quality(values, self.options.quantile) for values in held_out]
        if chosen is None:
            halves = zip(calibrated, held_out, strict=True)
            both = [
                worst_middle(
                    [*self.calibration.paired(first), *self.held_out.paired(second)],
                    self.options.quantile,
                    par,
                )
                for first, second in halves
            ]
            rival = qualities[0] if has_rival else -np.inf
            allowed = [number for number, found in enumerate(qualities) if found >= rival]
            chosen = max(allowed, key=lambda number: both[number])

        def worst(half: Measure, values: Sequence[float]) -> float:
            return worst_middle(half.paired(values), self.options.quantile)

        best = candidates[chosen]
        whole = Setting(self.space.num_steps, in_full(self.space.full))
        known = {}
        if self.truth.setting != whole:
            known["full_held_out_db"] = worst(self.held_out, self.held_out([whole])[0])
        figures = known | {
            "full_steps": float(self.space.full),
            "cost": best.cost,
            "speedup": self.space.full / best.cost,
            "calibration_db": worst(self.calibration, calibrated[chosen]),
            "held_out_db": worst(self.held_out, held_out[chosen]),
            "search_runs": spent + self._spent(),
        }
        if self.truth.agreement is not None:
            figures["converged_db"] = self.truth.agreement
        if has_rival:
            figures["fewer_steps_cost"] = candidates[0].cost
            figures["fewer_steps_held_out_db"] = worst(self.held_out, held_out[0])
        policy = best.setting.policy
        if not isinstance(policy, TablePolicy | RangePolicy):
            raise TypeError(f"a search finds tables, got {policy!r}")
        rounded = {name: round(figure, 4) for name, figure in figures.items()}
        origin = self._origin(best, rounded)
        return Tuned(replace(policy, origin=origin), tuple(candidates), tuple(held_out), chosen)

    @property
    def _truths(self) -> float:
        """The cost of the converged solution of both halves, and of choosing it, in full steps."""
        choosing = AGREED * self.truth.drawn / self._samples
        return 2 * self.space.cost(self.truth.setting) + choosing

    @property
    def _samples(self) -> int:
        return sum(len(batch.prompts) for batch in self.calibration.batches)

    def _spent(self) -> float:
        """The cost of all that was drawn so far, in full runs of the calibration half."""
        measured = sum(half.cost(self.space.cost) for half in (self.calibration, self.held_out))
        few: float = sum(recording.steps for recording in self.space.recordings.values())
        few += sum(map(self.space.cost, self.space.steered.values()))
        few = RECORDED * few + AGREED * self.truth.drawn
        few += 0.0 if self.guide is None else self.guide.spent
        learning = sum(learnt.spent for learnt in self.learnt.values())
        return (measured + few / self._samples + learning) / self.space.full

    def cheapest(self, decibels: float, evaluations: int | None, on_found: OnFound) -> Tuned:
        """The cheapest policy that keeps a quality, by bisection over budgets.

        The quality is what the samples of both halves show, less `SURE` standard errors.

        Args:
            evaluations: policies to measure for every budget tried; see `within`.

        Raises:
            ValueError: not even the largest budget, the full run's, keeps it.
        """
        budgets = [self.space.full * STEP_DOWN**place for place in range(BUDGETS)]
        kept: Tuned | None = None
        reached = -np.inf
        low, high = -1, BUDGETS
        while high - low > 1:
            place = (low + high) // 2
            try:
                tuned = self.within(budgets[place], evaluations, on_found)
            except OutOfReachError:
                high = place
                continue
            reached = self._sure(tuned)
            if reached >= decibels:
                low, kept = place, tuned
            else:
                high = place
        if kept is None:
            # The last budget tried was the largest.
            raise ValueError(
                f"min_psnr={decibels:g} is not reached: with the cost of the full run it is "
                f"{reached:.1f} dB for sure; ask for less, or give more num_steps"
            )
        return kept

    def stored(self, tuned: Tuned, max_bytes: int) -> Tuned:
        """The same with its features stored so that the bank of a call with one sample fits.

        Raises:
            ValueError: nothing fits.
        """
        setting = tuned.candidates[tuned.chosen].setting
        batch = self.calibration.batches[0]
        single = batch if isinstance(self.subject, LoopSubject) else batch.part(0, 1)
        calls = calls_in(self.subject, setting.steps, single)

        def quality(policies: Sequence[Policy]) -> list[float]:
            measured = self.calibration([replace(setting, policy=one) for one in policies])
            return [self.calibration.quality(values, self.options.quantile) for values in measured]

        given = tuned.policy
        policy = fitted(given, calls, max_bytes, quality)
        origin = given.origin
        if policy is given or origin is None:
            return tuned
        setting = replace(setting, policy=policy)
        figures = dict(origin.figures)
        for name, half in (("calibration", self.calibration), ("held_out", self.held_out)):
            worst = worst_middle(half.paired(half([setting])[0]), self.options.quantile)
            figures[f"{name}_db"] = round(worst, 4)
        policy = replace(policy, origin=replace(origin, figures=figures))
        return replace(tuned, policy=policy)

    def _sure(self, tuned: Tuned) -> float:
        setting = tuned.candidates[tuned.chosen].setting
        pairs = self.calibration.paired(self.calibration([setting])[0])
        pairs += self.held_out.paired(tuned.held_out[tuned.chosen])
        error = standard_error([value for _, value in pairs])
        return worst_middle(pairs, self.options.quantile) - SURE * error

    def _origin(self, candidate: Candidate, figures: dict[str, float]) -> Origin:
        setting = candidate.setting
        scheduler = scheduler_of(self.subject, setting.scheduler)
        denoiser = self.subject.denoisers[0]
        conditions = self.space.recording(None, self.space.num_steps).conditions
        single = None if conditions is None else conditions.scales.get(GUIDANCE)
        return Origin(
            model=type(denoiser).__name__,
            model_hash=config_hash(denoiser),
            scheduler=type(scheduler).__name__,
            scheduler_hash=config_hash(scheduler),
            num_inference_steps=setting.steps,
            found_by=candidate.found_by,
            solver=setting.scheduler,
            guidance=guidance_range(self.calibration.batches) or single,
            conditions=conditions,
            noise_levels=[round(level, 6) for level in self._levels(setting)],
            versions=versions(),
            figures=figures,
        )

    def _levels(self, setting: Setting) -> list[float]:
        """The logarithm of the noise level of every step; none if none are told."""
        laid = table_of(setting).noise_levels
        if laid is not None:
            return list(laid)
        run = setting.scheduler, setting.steps
        if run in self.space.recordings:
            return list(self.space.recordings[run].levels)
        scheduler = copy.deepcopy(scheduler_of(self.subject, setting.scheduler))
        try:
            scheduler.set_timesteps(setting.steps)
            levels = noise_coordinates(scheduler)
        except (TypeError, ValueError):
            return []  # it wants to know the size of the picture, or tells no noise levels
        return levels[-table_of(setting).num_steps :]


def versions() -> dict[str, str]:
    """Of frdiff and what it rests on."""
    return {"frdiff": __version__, **{name: version(name) for name in LIBRARIES}}
