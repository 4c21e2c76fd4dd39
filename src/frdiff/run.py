"""Apply a policy to a pipeline, and the handle that says what it did."""

import logging
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn

from frdiff.calls import outline, tensor_of
from frdiff.clock import Clock, noise_coordinates
from frdiff.cost import CallCost, Example, call_cost
from frdiff.denoisers import components, find_denoisers, find_scheduler, unwrap
from frdiff.patch import DenoiserPatch, Source
from frdiff.plan import Action, Plan, Step
from frdiff.policy import Policy

__all__ = ["Run", "Stats", "apply"]

logger = logging.getLogger(__name__)

FEW_STEPS = 10
LITTLE_SAVED = 0.05


@dataclass(frozen=True)
class Stats:
    """What a run did and what it cost.

    Attributes:
        steps: steps that ended.
        keyframes: steps computed in full.
        reuse_steps: steps with stored features.
        jumps: steps without a network call.
        macs: multiply-accumulates of all denoiser calls; None if they cannot be counted, because
            the denoiser's code needs the contents of its inputs.
        macs_full: the same run with every call in full.
        bank_bytes: bytes stored now; 0 once the last step of the scheduler has ended. A pipeline
            that stops before it, as with `denoising_end`, holds them until the next run.
        bank_bytes_peak: most bytes stored at a time.
        seconds: wall-clock time from the first denoiser call to the end of the last step.
    """

    steps: int
    keyframes: int
    reuse_steps: int
    jumps: int
    macs: int | None
    macs_full: int | None
    bank_bytes: int
    bank_bytes_peak: int
    seconds: float

    @property
    def macs_ratio(self) -> float | None:
        """`macs / macs_full`; 1 if nothing has run, None if they cannot be counted."""
        if self.macs is None or self.macs_full is None:
            return None
        return self.macs / self.macs_full if self.macs_full else 1.0

    def __str__(self) -> str:
        macs = "MACs unknown"
        if self.macs is not None and self.macs_full is not None:
            macs = f"{self.macs / 1e9:.2f} of {self.macs_full / 1e9:.2f} GMACs"
            macs += f" ({self.macs_ratio:.2f})"
        return (
            f"{self.steps} steps: {self.keyframes} keyframes, {self.reuse_steps} reuse, "
            f"{self.jumps} jumps; {macs}; bank {self.bank_bytes_peak / 2**20:.1f} MiB at most; "
            f"{self.seconds:.2f} s"
        )


class Run:
    """A policy applied to a pipeline or denoiser: a handle and a context manager.

    Use `apply` to make one. `remove()`, or leaving the `with` block in any way, restores every
    module and the scheduler.

    Attributes:
        policy: as given.
        plan: the table of the current or last run; None before the first step has ended.
        patches: one per denoiser.
        latents: what the last step of the last complete run returned; None before.
    """

    def __init__(self, denoisers: list[nn.Module], policy: Policy, source: Source) -> None:
        self.policy = policy
        self.plan: Plan | None = None
        self.patches: list[DenoiserPatch] = []
        self.latents: Tensor | None = None
        self._source = source
        self._examples: dict[tuple[int, Any], Example] = {}
        self._costs: dict[tuple[int, Any], CallCost] = {}
        self._coordinates: list[float] = []
        self._began: float | None = None
        self._ever_stepped = False
        self._device = torch.device("cpu")
        self._forget()
        if policy.origin is not None:
            policy.origin.check_model(denoisers[0])
            policy.origin.check_scheduler(source.scheduler)
        try:
            for denoiser in denoisers:
                self.patches.append(DenoiserPatch(denoiser, policy, source, self._on_call))
            self._clock = Clock(source.scheduler, self._start, self._on_step)
        except BaseException:
            for patch in self.patches:
                patch.detach()
            raise

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.remove()
        else:
            self._restore()

    def __repr__(self) -> str:
        return f"<frdiff run: {self.policy}, {len(self.targets)} targets>"

    @property
    def targets(self) -> list[str]:
        """Names of the hooked modules, denoiser by denoiser."""
        return [target.name for patch in self.patches for target in patch.targets]

    @property
    def stats(self) -> Stats:
        """Figures of the current run, or of the last one. MACs are counted when first asked for."""
        macs, macs_full = self._macs()
        return Stats(
            steps=sum(self._steps.values()),
            keyframes=self._steps[Action.KEYFRAME],
            reuse_steps=self._steps[Action.REUSE],
            jumps=self._steps[Action.JUMP],
            macs=macs,
            macs_full=macs_full,
            bank_bytes=sum(patch.bank.nbytes for patch in self.patches),
            bank_bytes_peak=self._peak,
            seconds=self._seconds,
        )

    @property
    def noise_levels(self) -> list[float]:
        """The logarithm of the noise level of every step of the run; none if none are told."""
        try:
            levels = noise_coordinates(self._clock.scheduler)
        except ValueError:
            return []
        return levels[len(levels) - (len(self.plan) if self.plan else 0) :]

    @property
    def call_costs(self) -> list[tuple[CallCost, int]]:
        """The cost of every kind of denoiser call of the run, and how often it was made.

        Raises:
            Exception: whatever a denoiser raises whose code needs the contents of its inputs.
        """
        kinds: Counter[tuple[int, Any]] = Counter()
        for (index, shape, _, _), calls in self._calls.items():
            kinds[index, shape] += calls
        return [(self._cost(index, shape), calls) for (index, shape), calls in kinds.items()]

    def remove(self) -> None:
        """Restore every module and the scheduler; harmless when done before.

        Warns if the denoiser was called but the scheduler never stepped: nothing was reused.
        """
        if not self._ever_stepped and any(patch.pending for patch in self.patches):
            warnings.warn(
                "the denoiser was called but the patched scheduler never stepped, so nothing was "
                "reused: another scheduler is in use. Apply the policy to the pipeline that runs, "
                "or pass its scheduler",
                UserWarning,
                stacklevel=2,
            )
        self._restore()

    def _restore(self) -> None:
        for patch in self.patches:
            patch.detach()
        self._clock.detach()

    def _macs(self) -> tuple[int, int] | tuple[None, None]:
        """MACs of all calls, and of the same calls in full."""
        macs = macs_full = 0
        for (index, shape, action, computed), calls in self._calls.items():
            try:
                cost = self._cost(index, shape)
            except Exception as error:  # whatever a model's own code may raise on fake tensors
                name = type(self.patches[index].denoiser).__name__
                logger.warning("MACs of %s cannot be counted: %s", name, error)
                return None, None
            if action is Action.KEYFRAME:
                macs += calls * cost.macs
            elif action is Action.REUSE:
                skipped = [group not in computed for group in self.patches[index].groups]
                macs += calls * cost.partial_macs(skipped)
            macs_full += calls * cost.macs
        return macs, macs_full

    def _cost(self, index: int, shape: Any) -> CallCost:
        key = index, shape
        if key not in self._costs:
            self._costs[key] = call_cost(
                self.patches[index].denoiser, self.policy, self._examples[key]
            )
        return self._costs[key]

    def _forget(self) -> None:
        """Set all figures to those of a run that has not begun."""
        self._steps: Counter[Action] = Counter()
        self._calls: Counter[tuple[int, Any, Action, frozenset[int]]] = Counter()
        self._peak = 0
        self._seconds = 0.0
        self._called = False

    def _start(self) -> None:
        """Begin a run."""
        self._forget()
        self.plan = None
        for patch in self.patches:
            patch.renew()
            patch.start()
        self._began = time.perf_counter()

    def _on_call(self) -> None:
        if self._source.scheduler is not self._clock.scheduler:
            # The pipeline's scheduler was swapped, and the new one has its timesteps set already.
            if self.policy.origin is not None:
                self.policy.origin.check_scheduler(self._source.scheduler)
            self._clock.detach()
            self._clock = Clock(self._source.scheduler, self._start, self._on_step)
            for patch in self.patches:
                patch.scheduler = self._source.scheduler
            self._start()
        if self._began is None:
            self._start()
        if not self._called:
            self._called = True
            self._began = time.perf_counter()

    def _on_step(self, index: int, num_steps: int, result: Any) -> None:
        self._ever_stepped = True
        if index == 0:
            if self._began is None:  # a compiled loop that runs again over the same timesteps
                self._forget()
                self._began = time.perf_counter()
            self.plan = self.policy.plan(num_steps)
            self._warn_if_little(self.plan)
            self._coordinates = self._run_coordinates()
        if self.plan is None:
            raise RuntimeError("no plan for this run; call scheduler.set_timesteps() to begin one")
        self._tally(self.plan[index])
        for patch in self.patches:
            keyframe = patch.action is Action.KEYFRAME
            if keyframe and self.plan[index].action is not Action.KEYFRAME:
                self.plan = self.plan.replaced(index, Step(Action.KEYFRAME))
            patch.bank.commit(self._coordinates[index], keyframe)
        if index + 1 == num_steps:
            self.latents = tensor_of(result)
            self._finish()
            return
        following = self.policy.revised(self.plan, index + 1)
        if following is not self.plan[index + 1]:
            self.plan = self.plan.replaced(index + 1, following)
        for patch in self.patches:
            patch.prepare(following, self._coordinates[index + 1])
        if self._began is not None:
            self._seconds = time.perf_counter() - self._began

    def _tally(self, planned: Step) -> None:
        """Count the calls of the step that ended, and the step itself."""
        action = planned.action
        for number, patch in enumerate(self.patches):
            for context in patch.end_step():
                shape = outline(context.example)
                if (number, shape) not in self._examples:
                    self._examples[number, shape] = Example(*context.example)
                done = Action.KEYFRAME if context.stored else planned.action
                self._calls[number, shape, done, planned.computed] += 1
                self._device = self._examples[number, shape].device
                if context.stored:
                    # A call whose bank held nothing that fits was computed, whatever was planned.
                    action = Action.KEYFRAME
        self._steps[action] += 1
        if action is Action.KEYFRAME or planned.computed:
            self._peak = max(self._peak, sum(patch.bank.nbytes for patch in self.patches))

    def _finish(self) -> None:
        for patch in self.patches:
            patch.start()
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        if self._began is not None:
            self._seconds = time.perf_counter() - self._began
        self._began = None

    def _run_coordinates(self) -> list[float]:
        first = self._clock.first or 0
        if self.policy.coordinate == "noise" and self.policy.forecast:
            return noise_coordinates(self._clock.scheduler)[first:]
        return [float(i) for i in range(self._clock.num_steps)]

    def _warn_if_little(self, plan: Plan) -> None:
        computed = plan.count(Action.KEYFRAME) / len(plan)
        if len(plan) < FEW_STEPS:
            reason = f"a run of {len(plan)} steps (fewer than {FEW_STEPS}) has little to reuse"
        elif computed > 1 - LITTLE_SAVED:
            reason = f"the plan computes {computed:.0%} of its steps in full"
        else:
            return
        warnings.warn(f"{reason}: expect little speed-up", UserWarning, stacklevel=2)


def apply(
    target: DiffusionPipeline | nn.Module,
    policy: Policy,
    *,
    scheduler: SchedulerMixin | None = None,
) -> Run:
    """A handle on `target` with `policy` applied; also a context manager that removes it.

    Args:
        target: any diffusers pipeline with a U-Net or transformer, or a bare denoiser.
        policy: what to compute, reuse and jump.
        scheduler: what the loop steps. A bare denoiser needs it, and a pipeline whose scheduler is
            no component called `scheduler`; in a pipeline with several, such as one with a prior,
            `pipe.prior_scheduler` applies the policy to the prior instead.

    Raises:
        TypeError: `target` or `policy` is something else.
        ValueError: no denoiser or no scheduler, nothing to hook, or a policy applied already.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a frdiff policy, got {type(policy).__name__}")
    if isinstance(target, nn.Module):
        if scheduler is None:
            raise ValueError(
                "a bare denoiser needs the scheduler that its loop steps: "
                "apply(denoiser, policy, scheduler=scheduler)"
            )
        return Run([unwrap(target)], policy, _Loop(scheduler))
    if not isinstance(target, DiffusionPipeline):
        raise TypeError(
            f"target must be a diffusers pipeline or a denoiser, got {type(target).__name__}"
        )
    denoisers = find_denoisers(target, scheduler)
    if scheduler is None:
        source: Source = _Component(target, find_scheduler(target))
    else:
        source = _stepped_by(target, scheduler)
    return Run(list(denoisers.values()), policy, source)


def _stepped_by(pipe: DiffusionPipeline, scheduler: SchedulerMixin) -> Source:
    """Where the scheduler of a pipeline is kept, one that is not its main one.

    Raises:
        ValueError: the pipeline has a main one, and this is no component of it.
    """
    for name, part in components(pipe).items():
        if part is scheduler:
            return _Component(pipe, name)
    if getattr(pipe, "scheduler", None) is not None:
        raise ValueError("a pipeline has its own scheduler; set pipe.scheduler instead")
    return _Loop(scheduler)


@dataclass
class _Loop:
    """A hand-written loop, as far as a run needs to know it."""

    scheduler: SchedulerMixin


@dataclass
class _Component:
    """The scheduler in a pipeline, which may be swapped."""

    pipe: DiffusionPipeline
    name: str

    @property
    def scheduler(self) -> SchedulerMixin:
        """The one in use now."""
        scheduler: SchedulerMixin = getattr(self.pipe, self.name)
        return scheduler
