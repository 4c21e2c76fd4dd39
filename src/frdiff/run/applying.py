"""Apply a policy to a pipeline, and the handle that says what it did."""

import functools
import inspect
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from diffusers import DiffusionPipeline, ModularPipeline, SchedulerMixin
from torch import Tensor, nn

from frdiff.cost import CallCost
from frdiff.network.denoisers import components, find_denoisers, find_scheduler, unwrap
from frdiff.network.hollow import Example
from frdiff.network.wrapped import Wrapped
from frdiff.plan import Plan
from frdiff.policy import FramePolicy, Policy
from frdiff.policy.checks import check_int
from frdiff.policy.conditions import Conditions
from frdiff.run.patch import DenoiserPatch
from frdiff.run.progress import Source
from frdiff.run.state import State
from frdiff.run.stats import Costs, Stats

__all__ = ["Run", "State", "Stats", "apply"]

# What nearly all pipelines call on themselves before they return.
AT_THE_END = "maybe_free_model_hooks"


class Run:
    """A policy applied to a pipeline or denoiser: a handle and a context manager.

    Use `apply` to make one. `remove()`, or leaving the `with` block in any way, restores every
    module and the scheduler.

    Attributes:
        policy, max_bytes: as given.
        patches: one per denoiser.
    """

    def __init__(
        self,
        denoisers: list[nn.Module],
        policy: Policy,
        scheduler: SchedulerMixin,
        pipe: DiffusionPipeline | None = None,
        compiled: nn.Module | None = None,
        max_bytes: int | None = None,
    ) -> None:
        outer = compiled if pipe is None else pipe
        self.policy = policy
        self.max_bytes = max_bytes
        self.patches: list[DenoiserPatch] = []
        self._states: weakref.WeakSet[State] = weakref.WeakSet()
        self._endings: list[Wrapped] = []
        self._on_removal: list[Callable[[], Any]] = []
        if policy.origin is not None:
            policy.origin.check_model(denoisers[0])
        try:
            for denoiser in denoisers:
                self.patches.append(DenoiserPatch(denoiser, policy, self))
                self.patches[-1].outer = functools.partial(_compiled, outer, denoiser)
                self.patches[-1].wrap_entrances()
            self._costs = Costs(self.patches, policy)
            if pipe is None:
                self._state = self._new_state(scheduler)
            else:
                self._state = self._new_state(
                    scheduler,
                    _source_of(scheduler, pipe),
                    functools.partial(_frame_of, pipe),
                    tells_end=bool(_tellers(pipe)),
                )
        except BaseException:
            for patch in self.patches:
                patch.detach()
            raise
        self._state.use()
        for teller in _tellers(pipe):
            end = self._ended(getattr(teller, AT_THE_END))
            self._endings.append(Wrapped(teller, AT_THE_END, end))

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
    def plan(self) -> Plan | None:
        """The table of the current or last run; None before the first step has ended."""
        return self._state.plan

    @property
    def latents(self) -> Tensor | None:
        """What the last step of the last complete run returned; None before."""
        return self._state.latents

    @property
    def stats(self) -> Stats:
        """Figures of the current run, or of the last one. MACs are counted when first asked for."""
        return self._state.stats

    @property
    def noise_levels(self) -> list[float]:
        """The logarithm of the noise level of every step of the run; none if none are told."""
        return self._state.noise_levels

    @property
    def conditions(self) -> Conditions | None:
        """What the run is made under that the policy does not decide; None before the first."""
        return self._state.conditions

    @property
    def takes_noise_levels(self) -> bool:
        """Whether a policy may have noise levels of its own for runs such as the last."""
        return self._state.takes_noise_levels

    @property
    def call_costs(self) -> list[tuple[CallCost, int]]:
        """The cost of every kind of denoiser call of the run, and how often it was made.

        Raises:
            Exception: whatever a denoiser raises whose calls cannot be counted.
        """
        return self._state.call_costs

    @property
    def step_calls(self) -> list[tuple[nn.Module, Example]]:
        """The denoiser and the arguments of every call of the last run's first step."""
        return self._state.step_calls

    def state(self, scheduler: SchedulerMixin, policy: Policy | None = None) -> State:
        """A run of its own through the same denoisers, for one of several requests that take turns.

        Args:
            scheduler: of the request, which no other one steps.
            policy: of the request: one with the same targets and groups as the run's; None for the
                run's. Where only some of them store features, apply one that does.

        Raises:
            RuntimeError: the policy was removed.
            ValueError: the scheduler drives another run already, or the policy needs other targets.
        """
        if not all(patch.attached for patch in self.patches):
            raise RuntimeError("the policy was removed; apply it again before making a state")
        if policy is not None:
            self._check_fits(policy)
        return self._new_state(scheduler, policy=policy)

    def _check_fits(self, policy: Policy) -> None:
        """Refuse a policy that needs other hooks than are there."""
        if policy.origin is not None:
            policy.origin.check_model(self.patches[0].denoiser)
        if (policy.targets, policy.groups) != (self.policy.targets, self.policy.groups):
            raise ValueError(
                f"the policy of a request has targets {policy.targets!r} in groups "
                f"{policy.groups!r}, and those that are hooked are {self.policy.targets!r} in "
                f"{self.policy.groups!r}; apply, and give requests, policies that agree in both"
            )
        if policy.reuses and not self.policy.reuses:
            raise ValueError(
                f"{policy} reuses features, and {self.policy}, which is applied, stores none: "
                "apply one that does, and give the other to its requests"
            )

    def on_removal(self, call: Callable[[], Any]) -> None:
        """Call this once everything is restored, however the run ends."""
        self._on_removal.append(call)

    def remove(self) -> None:
        """Restore every module and the scheduler; harmless when done before.

        Warns if the denoiser was called but the scheduler never stepped, or the other way round:
        nothing was reused.
        """
        complaint = self._state.complaint
        self._restore()
        if complaint is not None:
            warnings.warn(complaint, UserWarning, stacklevel=2)

    def _new_state(
        self,
        scheduler: SchedulerMixin,
        *pipeline: Any,
        policy: Policy | None = None,
        **known: Any,
    ) -> State:
        known["max_bytes"] = self.max_bytes
        costs = self._costs if policy is None else Costs(self.patches, policy)
        rule = self.policy if policy is None else policy
        state = State(self.patches, rule, costs, scheduler, *pipeline, **known)
        self._states.add(state)
        return state

    def _ended(self, free_hooks: Callable[[], Any]) -> Callable[[], Any]:
        """What a pipeline calls before it returns."""

        def end() -> Any:
            self._state.end_call()
            return free_hooks()

        return end

    def _restore(self) -> None:
        for ending in self._endings:
            ending.restore()
        for patch in self.patches:
            patch.detach()
        for state in list(self._states):
            state.detach()
        while self._on_removal:
            self._on_removal.pop()()


def _compiled(outer: DiffusionPipeline | nn.Module | None, denoiser: nn.Module) -> list[nn.Module]:
    """What `torch.compile` has made of a denoiser, among what holds it."""
    if isinstance(outer, DiffusionPipeline | ModularPipeline):
        parts = components(outer).values()
        others = (part for part in parts if part is not denoiser)
        return [part for part in others if getattr(part, "_orig_mod", None) is denoiser]
    return [outer] if outer is not None and outer is not denoiser else []


def _code_of(pipe: DiffusionPipeline) -> CodeType | None:
    return getattr(inspect.unwrap(type(pipe).__call__), "__code__", None)


def _tellers(pipe: DiffusionPipeline | None) -> list[DiffusionPipeline]:
    """What tells when a call of the pipeline ends: itself, or the pipelines within it."""

    def tells(one: DiffusionPipeline) -> bool:
        code = _code_of(one)
        return code is not None and AT_THE_END in code.co_names

    if pipe is None:
        return []
    if tells(pipe):
        return [pipe]
    inner = (part for part in vars(pipe).values() if isinstance(part, DiffusionPipeline))
    return [part for part in inner if tells(part)]


def _frame_of(pipe: DiffusionPipeline) -> FrameType | None:
    """The call of the pipeline that is being made; None if none is."""
    code, frame = _code_of(pipe), inspect.currentframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def apply(
    target: DiffusionPipeline | ModularPipeline | nn.Module,
    policy: Policy,
    *,
    scheduler: SchedulerMixin | None = None,
    max_bytes: int | None = None,
) -> Run:
    """A handle on `target` with `policy` applied; also a context manager that removes it.

    Args:
        target: any diffusers pipeline with a U-Net or transformer, modular ones too, or a bare
            denoiser.
        policy: what to compute, reuse and jump.
        scheduler: what the loop steps. A bare denoiser needs it, and a pipeline whose scheduler is
            no component called `scheduler`; in a pipeline with several, such as one with a prior,
            `pipe.prior_scheduler` applies the policy to the prior instead.
        max_bytes: that the bank of a run may take, on the device; a run that would take more is
            refused at its first denoiser call, before that is made. `frdiff.fit_memory` makes a
            policy fit.

    Raises:
        TypeError: `target` or `policy` is something else.
        ValueError: no denoiser or no scheduler, nothing to hook, a policy applied already, or one
            for frames.
        OverBudgetError: in a run, whose bank would take more than `max_bytes`.
    """
    if max_bytes is not None:
        check_int("max_bytes", max_bytes, 1, 2**63)
    if not isinstance(policy, Policy):
        raise TypeError(_no_policy(policy))
    if isinstance(policy, FramePolicy):
        raise ValueError(
            "a FramePolicy is for the frames of a clip, which it does not make in their order; "
            "draw them with frdiff.frames.draw(network, inputs, policy)"
        )
    if isinstance(target, nn.Module):
        if scheduler is None:
            raise ValueError(
                "a bare denoiser needs the scheduler that its loop steps: "
                "apply(denoiser, policy, scheduler=scheduler)"
            )
        return Run([unwrap(target)], policy, scheduler, compiled=target, max_bytes=max_bytes)
    if not isinstance(target, DiffusionPipeline | ModularPipeline):
        raise TypeError(
            f"target must be a diffusers pipeline or a denoiser, got {type(target).__name__}"
        )
    denoisers = list(find_denoisers(target, scheduler).values())
    if scheduler is None:
        scheduler = getattr(target, find_scheduler(target))
    elif getattr(target, "scheduler", None) is not None and _source_of(scheduler, target) is None:
        raise ValueError("a pipeline has its own scheduler; set pipe.scheduler instead")
    return Run(denoisers, policy, scheduler, target, max_bytes=max_bytes)


def _source_of(scheduler: SchedulerMixin, pipe: DiffusionPipeline) -> Source | None:
    """Where a pipeline keeps the scheduler; None if it is no component of it."""
    parts = components(pipe).items()
    return next((Source(pipe, name) for name, part in parts if part is scheduler), None)


def _no_policy(given: object) -> str:
    hint = "; frdiff.load_policy reads a file" if isinstance(given, str | Path) else ""
    return f"policy must be a frdiff policy, got {type(given).__name__}{hint}"
