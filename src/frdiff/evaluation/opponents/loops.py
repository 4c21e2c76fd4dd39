"""Final latents: by any scheduler, with gradients too, and those of the converged solution."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from diffusers import SchedulerMixin
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from frdiff.network.calls import tensor_of
from frdiff.network.wrapped import Wrapped
from frdiff.schedulers.clock import Clock
from frdiff.schedulers.named import CONVERGED_STEPS, converging
from frdiff.search.schedules.space import in_full
from frdiff.search.subject import Batch, PipelineSubject
from frdiff.setting import Setting

__all__ = ["converged_latents", "final_latents", "in_parts"]


class _Ended(Exception):
    """The last step is over."""


def final_latents(
    subject: PipelineSubject, scheduler: SchedulerMixin, steps: int, batch: Batch
) -> Tensor:
    """What the last step of a run with this scheduler returns, shape (N, ...).

    Where gradients are on they pass, in memory that does not grow with the number of denoiser calls
    but for latents: a call keeps its input alone, and is made again for its gradient.
    """
    found: list[Tensor] = []

    def end_step(index: int, num_steps: int, result: object) -> None:
        if index + 1 == num_steps:
            found.append(tensor_of(result))
            raise _Ended  # nothing after the last step is wanted, such as a decoder

    own = subject.pipe.scheduler
    clock = Clock(scheduler, lambda: None, end_step)
    try:
        subject.pipe.scheduler = scheduler
        with _checkpointed(subject):
            subject.run(steps, batch, gradient=torch.is_grad_enabled())
    except _Ended:
        pass
    finally:
        subject.pipe.scheduler = own
        clock.detach()
    return found[0][: len(batch.prompts)]  # DiTPipeline steps both halves of guidance


@contextmanager
def _checkpointed(subject: PipelineSubject) -> Iterator[None]:
    with ExitStack() as stack:
        for denoiser in subject.denoisers if torch.is_grad_enabled() else ():
            kept = functools.partial(
                checkpoint, denoiser.forward, use_reentrant=False, preserve_rng_state=False
            )
            stack.callback(Wrapped(denoiser, "forward", kept).restore)
        yield


def converged_latents(subject: PipelineSubject, batches: Sequence[Batch]) -> list[Tensor]:
    """Final latents of what the bench measures by, batch by batch."""
    solver = converging(subject.scheduler)
    setting = Setting(CONVERGED_STEPS, in_full(CONVERGED_STEPS), solver)
    return [torch.from_numpy(subject.drawn(setting, batch).latents) for batch in batches]


def in_parts(batches: Sequence[Batch], size: int) -> list[Batch]:
    """The same samples, at most `size` drawn together."""
    return [
        batch.part(start, start + size)
        for batch in batches
        for start in range(0, len(batch.prompts), size)
    ]
