"""What is tuned: a pipeline or a hand-written loop, drawing one batch at a time."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn

from frdiff.network.denoisers import find_denoisers, unwrap
from frdiff.network.wrapped import Wrapped
from frdiff.policy import JumpPolicy
from frdiff.run.applying import Run, apply
from frdiff.sampling import (
    REFUSALS,
    Call,
    NoArrayError,
    as_array,
    asks_for_number,
    calls_for,
    needs_prompts,
)
from frdiff.schedulers.named import set_scheduler
from frdiff.setting import Setting

__all__ = [
    "Batch",
    "Drawn",
    "Job",
    "Loop",
    "LoopSubject",
    "PipelineSubject",
    "Subject",
    "altered_scores",
    "altered_steps",
    "drawing",
    "guidance_range",
    "scheduler_of",
    "work_on",
]

OnRun = Callable[[Run], None]
Loop = Callable[[torch.Generator], Tensor] | Callable[[torch.Generator, int], Tensor]


@dataclass(frozen=True)
class Batch:
    """Samples drawn together.

    Attributes:
        seed: sample i is drawn from seed + i; a hand-written loop gets the seed alone.
        prompts: one per sample; for an unconditional pipeline only their number counts.
        guidance: scale that they are drawn at; None for the subject's.
    """

    seed: int
    prompts: tuple[str, ...]
    guidance: float | None = None

    def part(self, begin: int, end: int) -> "Batch":
        """Some of its samples, as they are drawn in it; not for a hand-written loop."""
        return replace(self, seed=self.seed + begin, prompts=self.prompts[begin:end])


def guidance_range(batches: Sequence[Batch]) -> tuple[float, float] | None:
    """The least and the greatest guidance scale of batches that have their own; None if none."""
    scales = [batch.guidance for batch in batches if batch.guidance is not None]
    return (min(scales), max(scales)) if scales else None


class Drawn(NamedTuple):
    """What one draw made, sample by sample.

    Attributes:
        samples: pictures, videos or sounds, or the final latents again.
        latents: final latents.
    """

    samples: np.ndarray
    latents: np.ndarray


@dataclass(frozen=True)
class PipelineSubject:
    """A pipeline.

    Attributes:
        guidance: guidance scale; None for the pipeline's default. A batch may have its own.
        latents: compare final latents and not what the pipeline makes of them.
        inputs: further arguments of the pipeline, the same for every call.
        per_call: samples that a call makes, where its inputs decide that; None for as many as it
            is asked for.
        pictures: whether what it makes are values in [0, 1].
    """

    pipe: DiffusionPipeline
    guidance: float | None = None
    latents: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    per_call: int | None = None
    pictures: bool = True

    @property
    def peak(self) -> float | None:
        """1 for pictures."""
        return 1.0 if self.pictures and not self.latents else None

    @property
    def denoisers(self) -> list[nn.Module]:
        """U-Net, transformer, or two of them."""
        return list(find_denoisers(self.pipe).values())

    @property
    def modules(self) -> list[nn.Module]:
        """All networks that it calls."""
        return [part for part in self.pipe.components.values() if isinstance(part, nn.Module)]

    @property
    def needs_prompts(self) -> bool:
        """Whether nothing can be drawn without them."""
        return needs_prompts(self.pipe, self.inputs)

    @property
    def takes_steps(self) -> bool:
        """Whether the number of steps is what it is asked for."""
        return not {"sigmas", "timesteps"} & self.inputs.keys()

    @property
    def scheduler(self) -> SchedulerMixin:
        """The pipeline's own."""
        return self.pipe.scheduler

    def settled(self, steps: int, batch: Batch) -> "PipelineSubject":
        """The same pipeline with what short trials show: how it is called, what it makes.

        Nearly all steps of the trials are jumps.

        Args:
            steps: `num_inference_steps` of a run.
            batch: of its samples at most two are drawn.

        Raises:
            Exception: whatever the pipeline raises when it is asked for one sample.
        """
        subject, one = self, calls_for(batch.prompts[:1], batch.seed, 1)[0]
        with _without_advice(), apply(self.pipe, JumpPolicy(steps)) as run:
            together = asks_for_number(self.pipe, self.inputs) and self._makes_two(steps, batch)
            try:
                made = self._made(one, steps, run)
            except REFUSALS as error:
                subject = replace(self, latents=True)
                try:
                    made = subject._made(one, steps, run)
                except REFUSALS:
                    raise error from None
                warnings.warn(
                    f"final latents are compared, for want of samples: {error}",
                    UserWarning,
                    stacklevel=4,
                )
        # Inputs may decide that there are two whatever is asked for.
        number = None if together and len(made) == 1 else len(made)
        pictures = bool(made.min() >= 0 and made.max() <= 1)
        return replace(subject, per_call=number, pictures=pictures)

    def _made(self, call: Call, steps: int, run: Run) -> np.ndarray:
        """What one call makes, or its final latents if it returns nothing that is an array."""
        result = self._call(call, steps)
        try:
            return as_array(result)
        except NoArrayError:
            if not self.latents:
                raise
            return _array(run.latents)

    def _makes_two(self, steps: int, batch: Batch) -> bool:
        """Whether asking for two samples makes two."""
        two = (batch.prompts * 2)[:2]
        try:
            return len(as_array(self._call(calls_for(two, batch.seed, None)[0], steps))) == 2
        except REFUSALS:
            return False  # one alone says what is wrong, if anything is

    def run(self, steps: int, batch: Batch, *, gradient: bool = False) -> np.ndarray:
        """What the pipeline returns as it is now.

        Args:
            gradient: let gradients through, which pipelines do not by themselves.
        """
        calls = calls_for(batch.prompts, batch.seed, self.per_call)
        made = [as_array(self._call(call, steps, batch.guidance, gradient)) for call in calls]
        return np.concatenate(made)[: len(batch.prompts)]

    def draw(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> np.ndarray:
        """Pictures, videos, sounds or final latents (N, ...); see `drawn`."""
        return self.drawn(setting, batch, on_run).samples

    def drawn(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> Drawn:
        """What a setting makes of a batch.

        Args:
            on_run: gets the run after each pipeline call.
        """
        samples, finals = [], []
        with _without_advice(), setting.attached(self.pipe) as run:
            if run is None:
                raise ValueError("a setting to be measured needs a policy")
            for call in calls_for(batch.prompts, batch.seed, self.per_call):
                result = self._call(call, setting.steps, batch.guidance)
                on_run(run)
                finals.append(_array(run.latents)[: len(call.seeds)])
                made = finals[-1] if self.latents else as_array(result)
                samples.append(made[: len(call.seeds)])
        count = len(batch.prompts)
        return Drawn(np.concatenate(samples)[:count], np.concatenate(finals)[:count])

    def _call(
        self, call: Call, steps: int, guidance: float | None = None, gradient: bool = False
    ) -> Any:
        output_type = "latent" if self.latents else "np"
        scale = self.guidance if guidance is None else guidance
        return call.draw(self.pipe, steps, scale, output_type, self.inputs, gradient)


@dataclass(frozen=True)
class LoopSubject:
    """A hand-written sampling loop.

    Attributes:
        loop: from a generator on the CPU, and from the number of steps if it takes that too, the
            final latents (N, ...) of one batch.
        denoiser: the network that it calls.
        scheduler: what it steps.
    """

    loop: Loop
    denoiser: nn.Module
    scheduler: SchedulerMixin
    peak: float | None = None
    needs_prompts: bool = False
    per_call: int | None = None

    @property
    def takes_steps(self) -> bool:
        """Whether the loop has a second argument that must be given, or is called steps."""
        given = list(inspect.signature(self.loop).parameters.values())[1:2]
        return any(
            parameter.kind is not parameter.VAR_KEYWORD
            and (parameter.default is parameter.empty or "steps" in parameter.name)
            for parameter in given
        )

    @property
    def denoisers(self) -> list[nn.Module]:
        """The one there is."""
        return [unwrap(self.denoiser)]

    @property
    def modules(self) -> list[nn.Module]:
        """The denoiser."""
        return self.denoisers

    def settled(self, steps: int, batch: Batch) -> "LoopSubject":
        """The loop as it is: there is one way to call it."""
        return self

    def run(self, steps: int, batch: Batch, *, gradient: bool = False) -> Tensor:
        """What the loop returns as it is now; gradients pass if it lets them."""
        generator = torch.Generator().manual_seed(batch.seed)
        loop: Callable[..., Tensor] = self.loop
        return loop(generator, steps) if self.takes_steps else loop(generator)

    def draw(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> np.ndarray:
        """Final latents (N, ...)."""
        return self.drawn(setting, batch, on_run).latents

    def drawn(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> Drawn:
        """What a setting makes of a batch: final latents."""
        if setting.policy is None:
            raise ValueError("a setting to be measured needs a policy")
        with (
            _without_advice(),
            apply(self.denoiser, setting.policy, scheduler=self.scheduler) as run,
        ):
            latents = self.run(setting.steps, batch)
            on_run(run)
            made = _array(latents)
            return Drawn(made, made)


Subject = PipelineSubject | LoopSubject

Job = Callable[[Subject], Any]
"""What an engine does with a subject, see `frdiff.engines`."""


def work_on(subject: Subject) -> Callable[[Job], Any]:
    """What does jobs with a subject; it can be sent wherever that can."""
    return partial(_do, subject)


def _do(subject: Subject, job: Job) -> Any:
    return job(subject)


def drawing(setting: Setting, batch: Batch) -> Job:
    """The job to draw a batch; what comes of it is `Drawn`."""
    return partial(_drawn, setting=setting, batch=batch)


def _drawn(subject: Subject, setting: Setting, batch: Batch) -> Drawn:
    return subject.drawn(setting, batch)


@contextmanager
def _without_advice() -> Iterator[None]:
    """A search tries settings that save little, or diverge, on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expect little speed-up")
        warnings.filterwarnings("ignore", message=".*the run diverges")
        yield


def scheduler_of(subject: Subject, solver: str | None) -> SchedulerMixin:
    """The scheduler called `solver` as the subject would use it; its own for None."""
    if solver is None or not isinstance(subject, PipelineSubject):
        return subject.scheduler
    own = subject.pipe.scheduler
    try:
        return set_scheduler(subject.pipe, solver)
    finally:
        subject.pipe.scheduler = own


@contextmanager
def altered_scores(
    subject: Subject, solver: str | None, alter: Callable[[Tensor], Tensor]
) -> Iterator[list[dict[str, Any]]]:
    """Let `alter` see, and change, the score of every step; see `altered_steps`."""
    with altered_steps(subject, solver, lambda score, sample: alter(score)) as timings:
        yield timings


@contextmanager
def altered_steps(
    subject: Subject, solver: str | None, alter: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[list[dict[str, Any]]]:
    """Let `alter` see score and sample of every step, guided as the solver gets them.

    What it returns is taken for the score.

    Within, the subject's own scheduler is the one called `solver`. The list fills with what each
    run gives to its `set_timesteps`, by name, without the device.
    """
    scheduler = scheduler_of(subject, solver)
    own, timings = subject.scheduler, []
    methods = {name: getattr(scheduler, name) for name in ("set_timesteps", "step")}
    before = {name: scheduler.__dict__.get(name) for name in methods}

    def timed(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(methods["set_timesteps"]).bind(*args, **kwargs).arguments
        timings.append({name: value for name, value in given.items() if name != "device"})
        return methods["set_timesteps"](*args, **kwargs)

    def altered(model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(methods["step"]).bind(model_output, *args, **kwargs).arguments
        score = alter(model_output, given.get("sample", model_output))
        return methods["step"](score, *args, **kwargs)

    try:
        for name, wrapper in (("set_timesteps", timed), ("step", altered)):
            setattr(scheduler, name, Wrapped(scheduler, name, wrapper))
        if isinstance(subject, PipelineSubject):
            subject.pipe.scheduler = scheduler
        yield timings
    finally:
        if isinstance(subject, PipelineSubject):
            subject.pipe.scheduler = own
        for name, method in before.items():
            if method is None:
                delattr(scheduler, name)
            else:
                setattr(scheduler, name, method)


def _array(latents: Tensor | None) -> np.ndarray:
    if not isinstance(latents, Tensor):
        raise TypeError(f"final latents must be a tensor, got {type(latents).__name__}")
    return latents.float().numpy(force=True)
