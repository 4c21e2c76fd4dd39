"""What every worker does: a batch of prompts to PNG files."""

import hashlib
import io
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from frdiff.compare import picture
from frdiff.models import open_pipeline
from frdiff.policy import Policy
from frdiff.sampling import sample
from frdiff.setting import Setting

__all__ = ["Batch", "Painted", "Painter"]


@dataclass(frozen=True)
class Batch:
    """Prompts drawn together.

    Attributes:
        first: number of the first of them in their file, from 0.
    """

    first: int
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Painted:
    """What became of a batch.

    Attributes:
        batch: that was drawn.
        pictures: one PNG per prompt; none where it failed.
        worker: who drew it.
        failure: why there is none.
    """

    batch: Batch
    pictures: tuple[bytes, ...]
    worker: str
    failure: str | None = None


@dataclass(frozen=True)
class Painter:
    """Draws batches with a policy; a picture hangs on its seed and on its batch alone.

    A pipeline is loaded when the first batch is drawn, and so by every worker for itself.

    Attributes:
        model: name of a shipped one, folder or hub id, or a function at the top level of a module
            that loads a pipeline.
        policy: None for the untouched pipeline.
        steps, scheduler: see `frdiff.setting.Setting`.
        guidance: guidance scale; None for the pipeline's default.
        seed: picture i is drawn from seed + i.
        inputs: further arguments of the pipeline.
        max_bytes: see `frdiff.apply`.
        device: where to draw.
    """

    model: str | Callable[[], Any]
    policy: Policy | None
    steps: int
    scheduler: str | None = None
    guidance: float | None = None
    seed: int = 0
    inputs: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: int | None = None
    device: str = "cpu"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "pipe"}

    @cached_property
    def pipe(self) -> Any:
        """The pipeline."""
        pipe = open_pipeline(self.model) if isinstance(self.model, str) else self.model()
        return pipe.to(torch.device(self.device))

    def __call__(self, batch: Batch) -> Painted:
        """The pictures of a batch; whatever a pipeline raises is said in what comes back."""
        worker = f"{socket.gethostname()}:{os.getpid()}"
        setting = Setting(self.steps, self.policy, self.scheduler)
        try:
            with setting.attached(self.pipe, self.max_bytes):
                images = sample(
                    self.pipe,
                    batch.prompts,
                    steps=self.steps,
                    seed=self.seed + batch.first,
                    guidance=self.guidance,
                    inputs=self.inputs,
                )
            return Painted(batch, tuple(map(_png, images)), worker)
        except Exception as error:  # such as memory that is out: others may yet be drawn
            (said,) = traceback.format_exception_only(error)[-1:]
            return Painted(batch, (), worker, said.strip())

    def recipe(self) -> dict[str, Any]:
        """What its pictures hang on, ready for JSON."""
        policy = None if self.policy is None else self.policy.dumps()
        return {
            "model": self.model
            if isinstance(self.model, str)
            else f"{self.model.__module__}.{self.model.__qualname__}",
            "policy": None if policy is None else hashlib.sha256(policy.encode()).hexdigest(),
            "steps": self.steps,
            "scheduler": self.scheduler,
            "guidance": self.guidance,
            "seed": self.seed,
            "inputs": sorted(self.inputs),
        }


def _png(image: Any) -> bytes:
    kept = io.BytesIO()
    picture(image).save(kept, "PNG")
    return kept.getvalue()
