"""A setting: everything that decides how a pipeline samples, apart from what it draws."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diffusers import DiffusionPipeline

from frdiff.policy import Policy
from frdiff.run.applying import Run, apply
from frdiff.schedulers.named import set_scheduler

__all__ = ["Setting"]


@dataclass(frozen=True)
class Setting:
    """Step count, policy and solver.

    Attributes:
        steps: `num_inference_steps`.
        policy: None for the untouched pipeline.
        scheduler: a name for `frdiff.set_scheduler`; None for the pipeline's own.
    """

    steps: int
    policy: Policy | None = None
    scheduler: str | None = None

    @contextmanager
    def attached(
        self, pipe: DiffusionPipeline, max_bytes: int | None = None
    ) -> Iterator[Run | None]:
        """The run of the policy, if there is one; `pipe` is as before afterwards.

        Args:
            max_bytes: see `frdiff.apply`.
        """
        own = getattr(pipe, "scheduler", None)
        try:
            if self.scheduler is not None:
                set_scheduler(pipe, self.scheduler)
            if self.policy is None:
                yield None
            else:
                with apply(pipe, self.policy, max_bytes=max_bytes) as run:
                    yield run
        finally:
            if self.scheduler is not None:
                pipe.scheduler = own
