"""What is tuned: a pipeline or a hand-written loop, drawing one batch at a time."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn

from frdiff.denoisers import find_denoisers, unwrap
from frdiff.run import Run, apply
from frdiff.sampling import sample, set_scheduler
from frdiff.setting import Setting
from frdiff.wrapped import Wrapped

__all__ = [
    "Batch",
    "Loop",
    "LoopSubject",
    "PipelineSubject",
    "Subject",
    "altered_scores",
    "scheduler_of",
]

OnRun = Callable[[Run], None]
Loop = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """Samples drawn together.

    Attributes:
        seed: sample i is drawn from seed + i; a hand-written loop gets the seed alone.
        prompts: one per sample; for an unconditional pipeline only their number counts.
    """

    seed: int
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class PipelineSubject:
    """A pipeline.

    Attributes:
        guidance: guidance scale; None for the pipeline's default.
        latents: compare final latents and not decoded pictures.
        inputs: further arguments of the pipeline, the same for every call.
    """

    pipe: DiffusionPipeline
    guidance: float | None = None
    latents: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def peak(self) -> float | None:
        """1 for pictures."""
        return None if self.latents else 1.0

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
        accepted = inspect.signature(self.pipe).parameters
        given = {"prompt_embeds", "class_labels"} & self.inputs.keys()
        return not given and bool({"prompt", "class_labels"} & accepted.keys())

    @property
    def scheduler(self) -> SchedulerMixin:
        """The pipeline's own."""
        return self.pipe.scheduler

    def run(self, steps: int, batch: Batch, *, gradient: bool = False) -> np.ndarray:
        """What the pipeline returns as it is now: pictures, or latents where it offers them.

        Args:
            gradient: let gradients through, which pipelines do not by themselves.
        """
        return sample(
            self.pipe,
            batch.prompts,
            steps=steps,
            seed=batch.seed,
            guidance=self.guidance,
            output_type="latent" if self.latents else "np",
            inputs=self.inputs,
            gradient=gradient,
        )

    def draw(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> np.ndarray:
        """Pictures (N, H, W, 3) in [0, 1], or final latents (N, ...)."""
        with _without_advice(), setting.attached(self.pipe) as run:
            images = self.run(setting.steps, batch)
            if run is None:
                raise ValueError("a setting to be measured needs a policy")
            on_run(run)
            return _array(run.latents) if self.latents else images


@dataclass(frozen=True)
class LoopSubject:
    """A hand-written sampling loop.

    Attributes:
        loop: from a generator on the CPU, the final latents (N, ...) of one batch.
        denoiser: the network that it calls.
        scheduler: what it steps.
    """

    loop: Loop
    denoiser: nn.Module
    scheduler: SchedulerMixin
    peak: float | None = None
    needs_prompts: bool = False

    @property
    def denoisers(self) -> list[nn.Module]:
        """The one there is."""
        return [unwrap(self.denoiser)]

    @property
    def modules(self) -> list[nn.Module]:
        """The denoiser."""
        return self.denoisers

    def run(self, steps: int, batch: Batch, *, gradient: bool = False) -> Tensor:
        """What the loop returns as it is now; gradients pass if it lets them."""
        return self.loop(torch.Generator().manual_seed(batch.seed))

    def draw(self, setting: Setting, batch: Batch, on_run: OnRun = lambda run: None) -> np.ndarray:
        """Final latents (N, ...)."""
        if setting.policy is None:
            raise ValueError("a setting to be measured needs a policy")
        with (
            _without_advice(),
            apply(self.denoiser, setting.policy, scheduler=self.scheduler) as run,
        ):
            latents = self.run(setting.steps, batch)
            on_run(run)
            return _array(latents)


Subject = PipelineSubject | LoopSubject


@contextmanager
def _without_advice() -> Iterator[None]:
    """A search tries settings that save little on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expect little speed-up")
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
) -> Iterator[None]:
    """Let `alter` see, and change, the score of every step, guided as the solver gets it.

    Within, the subject's own scheduler is the one called `solver`.
    """
    scheduler = scheduler_of(subject, solver)
    own, step, before = subject.scheduler, scheduler.step, scheduler.__dict__.get("step")

    def altered(model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        return step(alter(model_output), *args, **kwargs)

    try:
        scheduler.step = Wrapped(scheduler, "step", altered)
        if isinstance(subject, PipelineSubject):
            subject.pipe.scheduler = scheduler
        yield
    finally:
        if isinstance(subject, PipelineSubject):
            subject.pipe.scheduler = own
        if before is None:
            del scheduler.step
        else:
            scheduler.step = before


def _array(latents: Tensor | None) -> np.ndarray:
    if not isinstance(latents, Tensor):
        raise TypeError(f"final latents must be a tensor, got {type(latents).__name__}")
    return latents.float().numpy(force=True)
