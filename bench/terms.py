"""What predicts a score best: earlier scores, the reuse score, or both with fitted weights?

    python bench/terms.py [--models emoji emoji-dit] [--steps 24] [--intervals 2 3]

Open loop: the run stays the full one, keyframes at every second or third step store features and
scores, and in between the score computed with reused features is held beside the true one. Weights
of every step are fitted by least squares on one half of the samples; printed is the error on the
other half as a share of the score's norm, the median over steps, as a markdown table.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from complement import CASES, halves, opened
from shipped import options_of, track
from torch import Tensor

from frdiff.choices import OVERHEAD
from frdiff.network.calls import sample_in
from frdiff.policy import JumpPolicy
from frdiff.schedulers.named import is_flow
from frdiff.search.journal import Journal
from frdiff.search.options import Options
from frdiff.search.outset import space_of
from frdiff.search.schedules.shapes import Shape
from frdiff.search.schedules.space import Space
from frdiff.search.subject import Batch, PipelineSubject, altered_scores
from frdiff.search.weights.record import elements_of
from frdiff.setting import Setting

TERMS = {
    "last scores": (0, 3, False),
    "and sample": (0, 3, True),
    "reuse score alone": None,
    "and last score": (1, 1, False),
    "and last scores": (1, 3, False),
    "and sample too": (1, 3, True),
}
SETS = {"all": ("all", 0), "all, last 4 computed": ("all", 4), "residual": ("residual", 0)}
RIDGE = 1e-6
SEED = 500_000


@dataclass(frozen=True)
class Seen:
    """A full run, and what reuse steps in its place compute.

    Attributes:
        scores: the true ones, shape (steps, samples, elements); likewise the others.
        samples: as the denoiser gets them.
        reused: the reuse scores; a keyframe's are the true ones.
    """

    scores: np.ndarray
    samples: np.ndarray
    reused: np.ndarray


@contextmanager
def samples_seen(subject: PipelineSubject, count: int) -> Iterator[list[np.ndarray]]:
    """The samples of every call, the guided half of it."""
    (denoiser,) = subject.denoisers
    seen: list[np.ndarray] = []

    def see(_: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        sample = sample_in((args, kwargs))
        if sample is not None:
            seen.append(elements_of(sample[-count:]))

    handle = denoiser.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def full_run(subject: PipelineSubject, solver: str, steps: int, batch: Batch) -> list[Tensor]:
    """The scores of a full run, whole."""
    scores: list[Tensor] = []

    def keep(score: Tensor) -> Tensor:
        scores.append(score.clone())
        return score

    with altered_scores(subject, solver, keep):
        subject.draw(Setting(steps, JumpPolicy(1)), batch)
    return scores


def seen_at(
    space: Space,
    shape: Shape,
    keyframes: Sequence[int],
    true: list[Tensor],
    subject: PipelineSubject,
    batch: Batch,
) -> Seen:
    """What reuse steps between keyframes compute while the run stays the full one."""
    reused: list[np.ndarray] = []
    count = len(batch.prompts)

    def put_right(score: Tensor) -> Tensor:
        reused.append(elements_of(score[:count]))  # some pipelines step both guided halves alike
        return true[len(reused) - 1].clone()

    made = space.setting(shape, keyframes)
    setting = Setting(made.steps, made.policy)
    with (
        samples_seen(subject, count) as samples,
        altered_scores(subject, shape.solver, put_right),
    ):
        subject.draw(setting, batch)
    scores = [elements_of(score[:count]) for score in true]
    return Seen(np.stack(scores), np.stack(samples), np.stack(reused))


def error(seen: Seen, step: int, keyframes: Sequence[int], terms: tuple | None) -> float:
    """What a sum of terms misses of a score, on the samples that it was not fitted on."""
    if terms is None:
        return relative(seen.reused[step], seen.scores[step])
    reuse, depth, sample = terms
    earlier = [key for key in reversed(keyframes) if key < step][:depth]
    columns = [seen.reused[step]] * reuse + [seen.scores[key] for key in earlier]
    columns += [seen.samples[step]] * sample
    rows = np.stack(columns, -1).astype(np.float64)
    half = len(rows) // 2
    fitted, true = rows[:half].reshape(-1, len(columns)), seen.scores[step][:half].ravel()
    gram = fitted.T @ fitted
    pull = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram + pull, fitted.T @ true)
    return relative(rows @ weights, seen.scores[step])


def relative(found: np.ndarray, true: np.ndarray) -> float:
    """The norm of what is missed of the second half of the samples, as a share of theirs."""
    half = len(true) // 2
    missed, whole = found[half:] - true[half:], true[half:]
    return float(np.sqrt((missed**2).sum() / (whole**2).sum()))


def lines_of(
    model: str, scale: float | None, intervals: Sequence[int], steps: int, samples: int
) -> Iterator[str]:
    """The lines of a model at a guidance scale."""
    begun, num_steps = opened(model, scale)
    half = halves(begun, model, samples)[0]
    batch = Batch(SEED, tuple(name for some in half for name in some.prompts))
    subject = begun.settled(num_steps, batch)
    solver = "flow-euler-karras" if is_flow(subject.scheduler) else "dpm++karras"
    true = full_run(subject, solver, steps, batch)
    for name, (targets, tail) in SETS.items():
        space = space_of(
            subject,
            num_steps,
            [solver],
            batch,
            targets,
            Options(overhead=OVERHEAD),
            Journal(None, {}),
        )
        for interval in intervals:
            keyframes = range(0, len(true), interval)
            shape = Shape(steps, solver, power=1.0, tail=tail)
            seen = seen_at(space, shape, keyframes, true, subject, batch)
            places = [step for step in range(3 * interval, len(true)) if step not in keyframes]
            found = {
                said: np.median([error(seen, step, keyframes, terms) for step in places])
                for said, terms in TERMS.items()
            }
            said = model if scale is None else f"{model}, {scale:g}"
            cells = " | ".join(f"{100 * value:.2f}" for value in found.values())
            yield f"| {said} | {name} | {space.between(shape):.2f} | {interval} | {cells} |"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=CASES, default=["emoji", "emoji-dit"])
    parser.add_argument("--guidance", type=float, nargs="+", help="default: two of each model")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--intervals", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--samples", type=int, default=16)
    options = options_of(parser)
    cases = [
        (model, scale)
        for model in options.models
        for scale in (CASES[model] if options.guidance is None else options.guidance)
    ]
    print("| case | targets | price | interval | " + " | ".join(TERMS) + " |")
    print("|---" * (len(TERMS) + 4) + "|")
    for model, scale in track(cases, "cases"):
        found = lines_of(model, scale, options.intervals, options.steps, options.samples)
        print("\n".join(found), flush=True)


if __name__ == "__main__":
    main()
