"""A run through patched denoisers: its step, what is stored, its plan and its figures."""

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor, nn

from frdiff.bank.bank import Context
from frdiff.budget import Budget, OverBudgetError
from frdiff.cost import CallCost
from frdiff.network.calls import outline, sample_in, tensor_of
from frdiff.network.hollow import Example
from frdiff.network.wrapped import may_be_compiled
from frdiff.plan import Action, Plan, Step
from frdiff.policy import Policy
from frdiff.policy.conditions import Conditions, conditions_of, scales_in
from frdiff.run.advice import not_guided_in_one_call, not_tuned_for, too_little_saved
from frdiff.run.attendance import Attendance
from frdiff.run.divergence import Divergence
from frdiff.run.patch import DenoiserPatch
from frdiff.run.progress import Progress, Source
from frdiff.run.stats import Costs, Stats, Tally, on_device
from frdiff.schedulers.clock import Clock
from frdiff.schedulers.levels import has_levels, lay_levels, noise_coordinates, takes_levels

__all__ = ["State"]

AHEAD = "ahead"  # in place of the outline of calls that were not seen yet


class State:
    """One run after another through patched denoisers, each with its own step and bank.

    `apply` makes one, for the loop of its pipeline. A server that draws for several requests at a
    time makes one per request, with `run.state(scheduler)`, and calls the denoiser within it:

        with state:
            score = denoiser(latents, timestep, ...)
        latents = scheduler.step(score, timestep, latents).prev_sample

    Requests may take turns at every step, in one thread or in several that wait for one another.

    Attributes:
        plan: the table of the current or last run; None before the first step has ended.
        latents: what the last step of the last complete run returned; None before.
    """

    def __init__(
        self,
        patches: Sequence[DenoiserPatch],
        policy: Policy,
        costs: Costs,
        scheduler: SchedulerMixin,
        source: Source | None = None,
        pipeline_call: Callable[[], FrameType | None] = lambda: None,
        *,
        tells_end: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        if policy.origin is not None:
            policy.origin.check_scheduler(scheduler)
        self.policy = self._settled = policy
        self.plan: Plan | None = None
        self._conditions: Callable[[], Conditions | None] = lambda: None
        self.latents: Tensor | None = None
        self._patches = patches
        self._costs = costs
        self._source = source
        self._parts = [Progress(policy, patch.groups, self._on_call, source) for patch in patches]
        self._before: list[tuple[Progress, int | None]] = []
        self._tally = Tally()
        self._attendance = self._new_attendance()
        self._levels: list[float] = []
        self._device = torch.device("cpu")
        self._seconds = 0.0
        self._began: float | None = None
        self._ever_ran = self._running = self._complete = False
        # Of the runs that one call of a pipeline makes, the figures are added up.
        self._pipeline_call = pipeline_call
        self._tells_end = tells_end
        self._budget = Budget(max_bytes)
        self._of_a_step: list[tuple[int, Any]] = []
        self._scales: dict[str, float] = {}
        self._call: int | None = None
        self._first: int | None = None
        self._result: Any = None
        self._rest()
        self._clock = self._timed(scheduler)

    def __enter__(self) -> "State":
        thread = threading.get_ident()
        for patch in self._patches:
            if patch.thread not in (None, thread):
                raise RuntimeError(
                    "another thread is within the state of another request: one denoiser serves "
                    "one call at a time; let requests wait for one another, with a lock"
                )
        self._before += [(patch.progress, patch.thread) for patch in self._patches]
        for patch, part in zip(self._patches, self._parts, strict=True):
            patch.progress, patch.thread = part, thread
        self._attendance.thread = thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for patch in reversed(self._patches):
            patch.progress, patch.thread = self._before.pop()

    def use(self) -> None:
        """Let calls outside of any `with` be this state's."""
        for patch, part in zip(self._patches, self._parts, strict=True):
            patch.progress = part

    def detach(self) -> None:
        """Let the scheduler go, and forget what is stored."""
        self._clock.detach()
        for part in self._parts:
            part.start()

    @property
    def stats(self) -> Stats:
        """Figures of the current run, or of the last one. MACs are counted when first asked for."""
        stored = sum(part.bank.nbytes for part in self._parts)
        return self._tally.stats(self._costs, stored, self._seconds)

    @property
    def noise_levels(self) -> list[float]:
        """The logarithm of the noise level of every step of the run; none if none are told."""
        try:
            levels = noise_coordinates(self._clock.driver)
        except ValueError:
            return []
        return levels[len(levels) - (len(self.plan) if self.plan else 0) :]

    @property
    def conditions(self) -> Conditions | None:
        """What the run is made under that the policy does not decide; None before the first."""
        return self._conditions()

    @property
    def takes_noise_levels(self) -> bool:
        """Whether a policy may have noise levels of its own for runs such as the last."""
        driver = self._clock.driver
        whole = self.plan is not None and len(self.plan) == len(driver.timesteps)
        return whole and takes_levels(driver)

    @property
    def call_costs(self) -> list[tuple[CallCost, int]]:
        """The cost of every kind of denoiser call of the run, and how often it was made.

        Raises:
            Exception: whatever a denoiser raises whose calls cannot be counted.
        """
        kinds: dict[tuple[int, Any], int] = {}
        for (number, shapes, _, _), calls in self._tally.calls.items():
            kinds[number, shapes] = kinds.get((number, shapes), 0) + calls
        return [(self._costs.as_laid_out(*kind), calls) for kind, calls in kinds.items()]

    @property
    def step_calls(self) -> list[tuple[nn.Module, Example]]:
        """The denoiser and the arguments of every call of the last run's first step."""
        return [
            (self._patches[number].denoiser, self._costs.example(number, shapes))
            for number, shapes in self._of_a_step
        ]

    @property
    def complaint(self) -> str | None:
        """What to say if steps and calls did not meet, so that nothing was reused."""
        if self._planned is not None and self._clock.index and not self._calls:
            return self._no_calls(self._clock.index)
        if not self._ever_ran and (self._attendance.ever_ignored or self._is_pending()):
            return (
                "the denoiser was called but the patched scheduler never stepped, so nothing was "
                "reused: another scheduler is in use. Apply the policy to the pipeline that runs, "
                "or pass its scheduler"
            )
        return None

    def end_call(self) -> None:
        """End the run, if the loop has ended before its last timestep, and the pipeline's call."""
        if self._running and self._clock.index:
            self.latents = tensor_of(self._result)
            self._finish()
        elif self._running:
            self._rest()
        self._clock.restart()
        self._call = None

    def _new_attendance(self) -> Attendance:
        return Attendance([type(patch.denoiser) for patch in self._patches])

    def _timed(self, scheduler: SchedulerMixin) -> Clock:
        return Clock(
            scheduler,
            self._start,
            self._on_step,
            on_set=self._lay,
            on_again=self._on_again,
            pending=self._is_pending,
        )

    def _is_pending(self) -> bool:
        return any(part.pending for part in self._parts)

    def _lay(self, scheduler: SchedulerMixin) -> None:
        """Lay the policy's noise levels, if it has any, on a scheduler that has set its own."""
        self._settle()
        if self._settled.noise_levels is not None:
            lay_levels(scheduler, self._settled.noise_levels)

    def _settle(self) -> None:
        """Find out what the policy is for this run."""
        self._scales = scales_in(self._pipeline_call())
        self._settled = self.policy.settled(self._scales)
        for part in self._parts:
            part.opening = self._settled.opening

    def _start(self) -> None:
        """Begin a run of a policy that is settled."""
        for number, (patch, part) in enumerate(zip(self._patches, self._parts, strict=True)):
            patch.renew()
            part.start()
            if self._source is None and not patch.knows(AHEAD) and may_be_compiled():
                patch.lay_out(AHEAD, self._costs.layout_ahead(number))
        self._running = True
        self._attendance.begin()
        self._reset()

    def _rest(self) -> None:
        """End a run: calls until the next are none of it."""
        for part in self._parts:
            part.rest()
        self._running, self._attendance.thread = False, None
        self._reset()

    def _reset(self) -> None:
        self._levels = []
        self._divergence = Divergence()
        self._example: Any = None
        self._planned: Plan | None = None
        self._calls = 0
        self._budget.clear()
        self._began = None

    def _on_call(self, progress: Progress, args: tuple, kwargs: dict[str, Any]) -> bool:
        """Whether a call belongs to the run."""
        self._attendance.check_thread()
        self._follow_the_pipeline()
        number, clock = self._parts.index(progress), self._clock
        call, scheduler = (args, kwargs), clock.driver
        if not self._running and self._may_begin(number, call, scheduler):
            self._settle()
            self._start()
        place = None if clock.first is None else clock.first + clock.index
        if not self._running or not self._attendance.admits(number, call, scheduler, place):
            self._attendance.ignore()
            if self._attendance.astray and self._running:
                self._rest()
            return False
        self._look(number, call)
        if self._budget.max_bytes is not None and self._planned is None:
            self._claim(number, call)
        self._began = self._began or time.perf_counter()
        progress.enter(args, kwargs)
        return True

    def _look(self, number: int, call: tuple[tuple, dict[str, Any]]) -> None:
        """Look at a pass with such arguments, the first time, for what need be stored."""
        patch = self._patches[number]
        if not patch.knows(outline(call)):
            shapes, _ = self._costs.learn(number, call)
            patch.lay_out(shapes, self._costs.layout(number, shapes))

    def _claim(self, number: int, call: tuple[tuple, dict[str, Any]]) -> None:
        """Refuse a call of the first step with which the bank would outgrow its budget."""
        shapes, _ = self._costs.learn(number, call)
        try:
            cost = self._costs.as_laid_out(number, shapes)
        except Exception as error:  # whatever a model's own code may raise
            raise ValueError(
                f"what the bank takes cannot be counted, so max_bytes cannot be held: {error}"
            ) from error
        try:
            self._budget.claim(self._settled, cost, len(self._clock.driver.timesteps))
        except OverBudgetError:
            self._rest()
            raise

    def _may_begin(self, number: int, call: tuple[tuple, dict], scheduler: Any) -> bool:
        """Whether a call after the end of a run, or before the first, can begin one.

        Loops may run again over the same timesteps, and timesteps may be set before `apply`.
        """
        if self._attendance.astray:
            return False
        if self._first is not None:
            return self._attendance.begins(number, call, scheduler, self._first)
        return getattr(scheduler, "num_inference_steps", None) is not None

    def _follow_the_pipeline(self) -> None:
        """Take to another scheduler if the pipeline has got one; its timesteps are set already."""
        if self._source is None or self._source.scheduler is self._clock.scheduler:
            return
        scheduler = self._source.scheduler
        if self.policy.origin is not None:
            self.policy.origin.check_scheduler(scheduler)
        self._clock.detach()
        self._clock = self._timed(scheduler)
        self._attendance = self._new_attendance()
        for part in self._parts:
            part.scheduler = scheduler
        self._settle()
        self._start()

    def _on_step(self, index: int, num_steps: int, result: Any) -> None:
        called = [
            (number, context)
            for number, part in enumerate(self._parts)
            for context in part.end_step()
        ]
        first = self._first = len(self._clock.driver.timesteps) - num_steps
        if index == 0:
            self._begin(num_steps, called)
        if self._planned is None:
            raise RuntimeError("no plan for this run; call scheduler.set_timesteps() to begin one")
        coordinates = self._coordinates(first, num_steps)
        banks = [part.bank for part in self._parts]
        place = first + index
        called = self._attendance.settle(called, banks, self._clock.driver, index, place)
        if index == 0:
            rows = [(number, self._costs.learn(number, one.example)) for number, one in called]
            self._of_a_step = [(number, shapes) for number, (shapes, _) in rows]
        self._count(called, self._planned[index])
        for part in self._parts:
            keyframe = part.action is Action.KEYFRAME
            if keyframe and self._planned[index].action is not Action.KEYFRAME:
                self._planned = self._planned.replaced(index, Step(Action.KEYFRAME))
            part.bank.commit(coordinates[index], keyframe)
        self._result = result
        self._divergence.note(index, self._clock.score)
        if index + 1 == num_steps:
            self._finish()
            return
        following = self._settled.revised(self._planned, index + 1)
        if following is not self._planned[index + 1]:
            self._planned = self._planned.replaced(index + 1, following)
        self.plan = self._planned
        for part in self._parts:
            part.prepare(following, coordinates[index + 1])
        if self._began is not None:
            self._seconds = time.perf_counter() - self._began

    def _on_again(self, result: Any) -> None:
        """Take the result of a step that went over the last one again."""
        if self._attendance.ignored and self._running:
            raise self._clock.in_parts()
        self._result = result
        if not self._clock.index:
            self.latents = tensor_of(result)

    def _begin(self, num_steps: int, called: list[tuple[int, Context]]) -> None:
        """Begin a run's figures and plan, now that its first step has ended."""
        self._running = True  # also by a step without a call that was seen, as where it is compiled
        self._began = self._began or time.perf_counter()
        plan = self._settled.plan(num_steps)
        levels = self._settled.noise_levels
        if levels is not None and not has_levels(self._clock.driver, levels):
            raise RuntimeError(
                "this policy has noise levels of its own, but the scheduler had set its timesteps "
                "before; call scheduler.set_timesteps() after frdiff.apply, for every run"
            )
        _warn(too_little_saved(self._settled, plan))
        for number, context in called[:1]:
            denoiser = self._patches[number].denoiser
            self._example = context.example
            sample = sample_in(context.example)
            sample = None if sample is None else sample.to("meta")  # its shape and type will do
            self._conditions = partial(conditions_of, denoiser, sample, self._scales)
            if self.policy.origin is not None:  # it takes milliseconds to look at all weights
                _warn(not_tuned_for(self.policy, self._conditions()))
        self.plan = self._planned = plan
        # A call that does not tell its end may be gone, and another in its place.
        frame = self._pipeline_call() if self._tells_end else None
        before, self._call = self._call, None if frame is None else id(frame)
        if self._complete and self._call is not None and self._call == before:
            self._tally.seconds += self._seconds
        else:
            self._tally = Tally()
        self._seconds = 0.0
        self._ever_ran, self._complete = True, False

    def _count(self, called: list[tuple[int, Context]], planned: Step) -> None:
        """Count the calls of the step that ended, and the step itself."""
        actions = set()
        for number, context in called:
            shapes, self._device = self._costs.learn(number, context.example)
            # A call whose bank held nothing that fits was computed, whatever was planned.
            done = Action.KEYFRAME if context.stored else context.took or planned.action
            if planned.action is Action.KEYFRAME and not context.stored:
                raise RuntimeError(
                    "a denoiser call of a keyframe stored nothing, so what it did is not known; "
                    "let the denoiser run without torch.compile"
                )
            self._tally.calls[number, shapes, done, planned.computed] += 1
            actions.add(done)
            held_back = context.scores.held_back
            if done is Action.JUMP and planned.checked and held_back is not None:
                self._tally.held_back.append(held_back)
        self._calls += len(called)
        self._tally.steps += 1
        if actions:
            action = Action.KEYFRAME if Action.KEYFRAME in actions else planned.action
            self._tally.actions[action] += 1
        storage = self._settled.storage
        offloads = storage is not None and storage.offload
        if Action.KEYFRAME in actions or planned.computed or offloads:
            stored = sum((part.bank.held() for part in self._parts), Counter[str]())
            peak = max(self._tally.peak, stored, key=lambda held: (on_device(held), held.total()))
            self._tally.peak = peak

    def _finish(self) -> None:
        """End a run whose last step has ended."""
        calls, steps = self._calls, self._tally.steps
        began = self._began
        self.latents = tensor_of(self._result)
        plan, divergence, example = self._planned, self._divergence, self._example
        self.plan = plan
        self._rest()
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        if began is not None:
            self._seconds = time.perf_counter() - began
        self._complete = True
        if not calls:
            _warn(self._no_calls(steps))
        elif plan is not None:
            _warn(divergence.complaint(plan))
            _warn(not_guided_in_one_call(self._settled, example, self._scales))

    def _no_calls(self, steps: int) -> str:
        names = " or ".join({type(patch.denoiser).__name__ for patch in self._patches})
        return (
            f"{steps} steps of the scheduler have ended, but none called the {names} that has the "
            "policy, so nothing was reused: another network is in its place. Call run.remove() and "
            "apply the policy again"
        )

    def _coordinates(self, first: int, num_steps: int) -> list[float]:
        """The coordinate of every step, for a run that begins at timestep number `first`."""
        if self.policy.coordinate == "step" or not self.policy.forecast:
            return [float(i) for i in range(num_steps)]
        if not self._levels:
            self._levels = noise_coordinates(self._clock.driver)
        return self._levels[first:]


def _warn(advice: str | None) -> None:
    if advice is not None:
        warnings.warn(advice, UserWarning, stacklevel=2)
