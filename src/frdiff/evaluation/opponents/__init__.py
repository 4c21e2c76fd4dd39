"""Opponents: other ways to draw with as many network calls, written here from their papers.

Each file has one of them. This one registers them as peers of the bench that need no installation:
what they choose is chosen once for all pictures, from calibration samples where they need any.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.evaluation.opponents.ays import ays_levels
from frdiff.evaluation.opponents.dmn import dmn_levels
from frdiff.evaluation.opponents.gits import gits_levels
from frdiff.evaluation.opponents.guidance import adaptive_guidance
from frdiff.evaluation.opponents.learnt import learnt_solver
from frdiff.evaluation.opponents.levels import levels_of, noise_of, on_levels
from frdiff.evaluation.opponents.linear import LinearScheduler, LinearSolver
from frdiff.evaluation.opponents.pfdiff import grid_steps, pfdiff
from frdiff.evaluation.opponents.spectrum import spectrum
from frdiff.evaluation.registry import Peer
from frdiff.search.subject import Batch, PipelineSubject

__all__ = ["OPPONENTS"]

# Whose batches hold both halves of guidance.
GUIDED = ("UNet2DConditionModel", "DiTTransformer2DModel", "SD3Transformer2DModel")

Batches = Sequence[Batch]


@contextmanager
def _stepping_over(
    pipe: DiffusionPipeline, steps: int, levels: Sequence[float]
) -> Iterator[DiffusionPipeline]:
    with on_levels(pipe.scheduler, levels):
        yield pipe


@contextmanager
def _stepping_by(
    pipe: DiffusionPipeline, steps: int, solver: LinearSolver
) -> Iterator[DiffusionPipeline]:
    own = pipe.scheduler
    try:
        pipe.scheduler = LinearScheduler.of(solver, noise_of(own))
        yield pipe
    finally:
        pipe.scheduler = own


def _choosing(name: str, choose: Callable[..., Any], module: str = "frdiff") -> Peer:
    """A peer that chooses "levels" for the scheduler set, or a "solver" in place of it."""

    def calibrate(
        subject: PipelineSubject, steps: int, batches: Batches, **options: Any
    ) -> dict[str, Any]:
        return {name: choose(subject, steps, batches, **options)}

    attach = _stepping_over if name == "levels" else _stepping_by
    return Peer(None, module, None, attach, calibrate)


def _ays(subject: PipelineSubject, steps: int, batches: Batches) -> list[float]:
    return ays_levels(noise_of(subject.scheduler), steps)


def _dmn(subject: PipelineSubject, steps: int, batches: Batches) -> list[float]:
    power = 2 if hasattr(subject.pipe, "vae") else 1
    return dmn_levels(noise_of(subject.scheduler), steps, power)


def _pfdiff(subject: PipelineSubject, steps: int, batches: Batches) -> LinearSolver:
    subject.scheduler.set_timesteps(grid_steps(steps))
    return pfdiff(levels_of(subject.scheduler))


@contextmanager
def _guided(pipe: DiffusionPipeline, steps: int, threshold: float) -> Iterator[DiffusionPipeline]:
    with adaptive_guidance(pipe, threshold):
        yield pipe


OPPONENTS = {
    "ays": _choosing("levels", _ays),
    "dmn": _choosing("levels", _dmn, "scipy"),
    "gits": _choosing("levels", gits_levels),
    "pfdiff": _choosing("solver", _pfdiff),
    "learnt": _choosing("solver", learnt_solver),
    "spectrum": Peer(None, "frdiff", None, spectrum),
    "adaptive-guidance": Peer(None, "frdiff", GUIDED, _guided),
}
