"""What the benches of this folder share: a shipped model and pictures to measure settings on."""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import rich.progress
import torch
from diffusers import DiffusionPipeline
from rich.console import Console

import frdiff
from frdiff.compare import psnr
from frdiff.evaluation.runner import choose_prompts
from frdiff.evaluation.suites import suite_of
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.policy import Policy
from frdiff.sampling import sample
from frdiff.schedulers.named import CONVERGED_STEPS, converging
from frdiff.setting import Setting

BATCH = 16

track = partial(rich.progress.track, console=Console(stderr=True))
"""Shows on stderr how far a loop is, so that what `--json` prints is JSON alone."""


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for; as many threads are set."""
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def tuned_setting(policy: Policy, solver: str) -> Setting:
    """The setting of a policy that `frdiff.tune` found.

    Args:
        solver: for a policy that keeps the pipeline's own.
    """
    return Setting(policy.origin.num_inference_steps, policy, policy.origin.solver or solver)


def tell(measured: Mapping[str, Any], page: Path, text: str, options: argparse.Namespace) -> None:
    """Print the figures as JSON where that was asked for; else write the page, and print it."""
    if options.json:
        print(json.dumps(measured, indent=1))
    else:
        page.write_text(text)
        print(text)


@dataclass(frozen=True)
class Shipped:
    """A shipped model, and prompts and noises of its own.

    Attributes:
        name: of the model.
        pictures: drawn per setting.
        seed: picture i is drawn from seed + i.
        captions: to choose prompts from; None for all that the model knows.
    """

    name: str
    pictures: int
    seed: int
    captions: Sequence[str] | None = None

    @cached_property
    def pipe(self) -> DiffusionPipeline:
        """The pipeline."""
        return frdiff.load_model(self.name)

    @property
    def guidance(self) -> float | None:
        """The guidance scale it is drawn with."""
        return GUIDANCE[self.name]

    @property
    def inputs(self) -> dict[str, Any]:
        """What else the pipeline is called with."""
        return INPUTS.get(self.name, {})

    @cached_property
    def truth(self) -> np.ndarray:
        """The converged solution."""
        reference = suite_of(self.pipe).reference
        return self.draw(Setting(reference.steps, None, reference.scheduler))

    def draw(self, setting: Setting) -> np.ndarray:
        """Pictures (N, H, W, C) in [0, 1]."""
        captions = shipped_captions(self.name) if self.captions is None else self.captions
        prompts = choose_prompts(captions, self.pictures, 1)
        with setting.attached(self.pipe):
            drawn = [
                sample(
                    self.pipe,
                    prompts[start : start + BATCH],
                    steps=setting.steps,
                    seed=self.seed + start,
                    guidance=self.guidance,
                    inputs=self.inputs,
                )
                for start in range(0, self.pictures, BATCH)
            ]
        return np.concatenate(drawn)

    def decibels(self, setting: Setting) -> float:
        """The median PSNR to the converged solution."""
        return statistics.median(psnr(self.truth, self.draw(setting)))


@dataclass(frozen=True)
class At(Shipped):
    """A shipped model at a guidance scale; its converged solution is of the pipeline's own kind."""

    scale: float | None = None

    @cached_property
    def truth(self) -> np.ndarray:
        """The converged solution."""
        return self.draw(Setting(CONVERGED_STEPS, None, converging(self.pipe.scheduler)))

    @property
    def guidance(self) -> float | None:
        """The guidance scale it is drawn with."""
        return self.scale
