"""From a budget to a policy."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import nn

from frdiff.choices import METHODS
from frdiff.engines import Engine, Place, engine_of
from frdiff.network.denoisers import weights_hash
from frdiff.policy import config_hash
from frdiff.policy.base import MAX_STEPS
from frdiff.policy.checks import check_int, checked_list, quote
from frdiff.sampling import check_inputs
from frdiff.search.account import FIRST, Account, OnEvent, Progress, shown
from frdiff.search.gates import ITERATIONS, RUNS, learn_gates
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure
from frdiff.search.options import Goal, Options, Words, sorted_out
from frdiff.search.outset import learner_of, space_of, targets_of, truth_of
from frdiff.search.samples import halves_of, scales_of
from frdiff.search.schedules.space import Space
from frdiff.search.solvers import Truth, solvers_of
from frdiff.search.subject import Batch, Job, Loop, LoopSubject, PipelineSubject, Subject, work_on
from frdiff.search.tuner import Tuned, Tuner, about, versions
from frdiff.search.weights.guide import Guide, followed
from frdiff.search.within import Candidate
from frdiff.setting import Setting

__all__ = ["OnEvent", "Progress", "tune"]

SEARCHES = 5  # to find out which budget keeps a quality


def tune(
    target: DiffusionPipeline | Loop,
    prompts: Sequence[str | int] | None = None,
    *,
    num_steps: int,
    guidance: float | tuple[float, float] | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    denoiser: nn.Module | None = None,
    scheduler: SchedulerMixin | None = None,
    journal: str | Path | None = None,
    on_event: OnEvent | None = None,
    **words: Unpack[Words],
) -> Any:
    """The `TablePolicy` that comes closest to the converged solution at a given cost.

        policy = frdiff.tune(pipe, prompts, num_steps=25, speedup=2, guidance=7.5)

    Policies are searched on one half of the prompts and measured again on the other half, with
    other noises. The pipeline with fewer steps takes part, and of all that are no worse than that
    on the other half, the one that is best on both is returned.
    `policy.origin` says what a policy is for, what was measured, and what found it. The converged
    solution comes from the two settings with many steps that agree best; to how many dB they do is
    `policy.origin.figures["converged_db"]`, and what lies above that cannot be told.

    Args:
        target: a pipeline, or a function from a `torch.Generator` on the CPU to the final latents
            (N, ...) of one batch, drawn by a hand-written loop. If the function takes the number
            of steps as a second argument, that is tuned too.
        prompts: what to draw, the more varied the better, texts or the classes of a
            class-conditional pipeline, by number or name; where there are more than `samples` for
            each half, as many are drawn. None for a function, for an unconditional pipeline, or
            where `inputs` have embeddings.
        num_steps: `num_inference_steps` of the full run, with the pipeline's own scheduler.
        guidance: guidance scale; None for the pipeline's default. The least and the greatest of a
            range find a policy for all between, whose numbers follow the scale of each call (see
            `RangePolicy`): samples are drawn at three scales in each half, and what counts is the
            one at which least is gained on fewer steps.
        inputs: further arguments of the pipeline, such as a picture to start from or prompt
            embeddings. Where they decide how many samples a call makes, it is called as often as
            needed.
        denoiser, scheduler: of a function: the network that it calls, and what it steps.
        journal: a file that keeps what was measured; a search that was killed goes on from it.
        on_event: called with the progress whenever something was drawn or measured; None shows a
            bar on a terminal.
        words: what is asked for, one of `budget`, `speedup`, `min_psnr` and `pareto`, see `Goal`;
            how to search (`allow_scheduler`, `vary`, `targets`, `samples`, `seed`, `max_bytes` and
            others), see `Options`; and where (`engine`, `workers`, `resources_per_worker`,
            `address`), see `frdiff.engines.Place`, which does not change the policies.

    Raises:
        TypeError: a word that none of these has; prompts that are no list.
        ValueError: not one of `budget`, `speedup`, `min_psnr` and `pareto`; gates with `min_psnr`;
            arguments out of range; prompts missing; nothing to hook; the journal of another search;
            or a budget, `min_psnr` or `max_bytes` out of reach.
    """
    goal, options, place = sorted_out(words, Goal, Options, Place)
    check_int("num_steps", num_steps, 2, MAX_STEPS)
    shares = goal.shares(num_steps)
    if options.method == "gates" and goal.min_psnr is not None:
        raise ValueError(f"method must be one of {METHODS}, gates without min_psnr, got 'gates'")
    scales = scales_of(guidance)
    subject = _subject(target, denoiser, scheduler, guidance, inputs, options.latents)
    solvers = solvers_of(subject, options.allow_scheduler)
    halves = halves_of(subject, prompts, options.samples, options.seed, scales)
    wanted = targets_of(subject, options)
    identity = {
        "model": [type(network).__name__ for network in subject.denoisers],
        "weights": weights_hash(subject.denoisers),
        "scheduler": [type(subject.scheduler).__name__, config_hash(subject.scheduler)],
        "prompts": _digest([str(prompt) for prompt in prompts or ()]),
        "samples": options.samples,
        "inputs": sorted(inputs),
        "num_steps": num_steps,
        "targets": options.targets,
        "overhead": options.overhead,
        "guidance": scales or guidance,
        "latents": options.latents,
        "seed": options.seed,
        "versions": versions(),
    }
    notes = Journal(None if journal is None else Path(journal), identity)
    with _quiet(target), shown(FIRST) if on_event is None else nullcontext(on_event) as told:
        subject = subject.settled(num_steps, halves[0][0])
        account = Account(told, options.samples, about(len(shares) or SEARCHES, bool(scales)))
        space = space_of(subject, num_steps, solvers, halves[0][0], wanted, options, notes)
        with engine_of(work_on(subject), place) as work:
            hunt = Hunt(subject, space, halves, notes, work, goal, options, account)
            found = _searched(hunt, shares)
    policies = [tuned.policy for tuned in found]
    return policies if goal.pareto else policies[0]


@contextmanager
def _quiet(target: DiffusionPipeline | Loop) -> Iterator[None]:
    """A pipeline without bars of its own, hundreds of them, while this lasts."""
    if not isinstance(target, DiffusionPipeline):
        yield
        return
    before = dict(getattr(target, "_progress_bar_config", {}))
    target.set_progress_bar_config(**before | {"disable": True})
    try:
        yield
    finally:
        target.set_progress_bar_config(**before)


@dataclass(frozen=True)
class Hunt:
    """A search that is ready to begin.

    Attributes:
        halves: the batches to search on, and those to measure what was found on.
        notes: the journal.
        work: does jobs of the subject.
    """

    subject: Subject
    space: Space
    halves: Sequence[Sequence[Batch]]
    notes: Journal
    work: Engine[Job, Any]
    goal: Goal
    options: Options
    account: Account


def _searched(hunt: Hunt, shares: Sequence[float]) -> list[Tuned]:
    """What was found within each share of the full run's cost, or for the least quality."""
    subject, notes, options, account = hunt.subject, hunt.notes, hunt.options, hunt.account
    space, full = hunt.space, hunt.space.full
    truth = truth_of(subject, space, hunt.halves[0][0], notes, hunt.work, account)
    _check_can_be_told(hunt.goal.min_psnr, truth)
    guide = Guide(subject, notes, followed(hunt.halves[0]), hunt.work)

    def on_drawn(setting: Setting, samples: int) -> None:
        if setting == truth.setting:
            account.doing = "drawing the converged solution"
        account.drawn(space.cost(setting) / full, samples)

    calibration, held_out = (
        Measure(hunt.work, truth.setting, half, notes, name, subject.peak, guide, on_drawn)
        for half, name in zip(hunt.halves, ("calibration", "held-out"), strict=True)
    )
    budgets = [full * share for share in shares]

    learner = learner_of(subject, calibration, notes, full, account)
    chosen = (learner, guide) if "weights" in options.vary else (None, None)
    tuner = Tuner(subject, space, calibration, held_out, truth, options, *chosen)
    asked = budgets or [full / 2] * SEARCHES
    account.paced = True  # from here on whole batches are drawn
    account.all_runs = tuner.expected_runs(asked)
    if options.method == "gates":
        account.all_runs += len(asked) * ITERATIONS * RUNS / options.samples

    def on_found(candidate: Candidate, left: int) -> None:
        account.done = len(calibration.asked)
        account.tell(candidate.found_by, candidate)

    if options.method == "gates":
        found = []
        for budget in budgets:
            count = tuner.keyframes_within(budget)
            found.append(tuner.by_gates(budget, *_keyframes_learnt(hunt, count)))
    elif hunt.goal.min_psnr is not None:
        found = [tuner.cheapest(hunt.goal.min_psnr, options.evaluations, on_found)]
    else:
        found = [tuner.within(budget, options.evaluations, on_found) for budget in budgets]
    if options.max_bytes is not None:
        found = [tuner.stored(tuned, options.max_bytes) for tuned in found]
    return found


def _check_can_be_told(min_psnr: float | None, truth: Truth) -> None:
    """Refuse a quality above what the converged solution is known to."""
    if min_psnr is not None and truth.agreement is not None and min_psnr > truth.agreement:
        raise ValueError(
            f"min_psnr={min_psnr:g} cannot be told: the best solutions known, with many "
            f"steps, agree to {truth.agreement:.1f} dB; ask for less"
        )


def _keyframes_learnt(hunt: Hunt, count: int) -> tuple[list[int], float]:
    """So many keyframes by learnt gates, and what they cost in full runs of the half."""
    full, notes, account = hunt.space.full, hunt.notes, hunt.account
    samples = [batch.part(i, i + 1) for batch in hunt.halves[0] for i in range(len(batch.prompts))]
    question = f"gates, {count} open"
    if question not in notes:

        def on_iteration(done: int, loss: float, _: Any) -> None:
            account.done = done
            account.learning(done * RUNS / len(samples), f"gates, loss {loss:.2e}")

        logits = learn_gates(
            hunt.subject,
            full,
            samples,
            keyframes=count,
            targets=hunt.space.targets,
            on_iteration=on_iteration,
        )
        account.learnt()
        notes[question] = sorted(np.argsort(-logits, kind="stable")[:count].tolist())
    learnt = checked_list("keyframes in the journal", notes[question])
    for keyframe in learnt:
        check_int("a keyframe in the journal", keyframe, 0, full - 1)
    if len({*learnt}) != count:
        raise ValueError(f"the journal must have {count} keyframes, got {quote(learnt)}")
    return sorted(learnt), ITERATIONS * RUNS / len(samples) + 1


def _subject(
    target: DiffusionPipeline | Loop,
    denoiser: nn.Module | None,
    scheduler: SchedulerMixin | None,
    guidance: float | tuple[float, float] | None,
    inputs: Mapping[str, Any],
    latents: bool,
) -> Subject:
    if isinstance(target, DiffusionPipeline):
        if denoiser is not None or scheduler is not None:
            raise ValueError("a pipeline has its own denoiser and scheduler; leave them out")
        kind = type(target).__name__
        if getattr(target, "scheduler", None) is None:
            raise ValueError(
                f"{kind} has no component `scheduler`; tune a function of a generator and the "
                "number of steps that calls it, with denoiser= and scheduler="
            )
        if guidance is not None and "guidance_scale" not in signature(target).parameters:
            raise ValueError(
                f"{kind} takes no guidance_scale; leave guidance out and give what it takes "
                "instead with inputs="
            )
        check_inputs(target, inputs)
        single = None if isinstance(guidance, tuple | list) else guidance
        return PipelineSubject(target, single, latents, dict(inputs))
    if not callable(target):
        raise TypeError(
            f"target must be a diffusers pipeline or a function, got {type(target).__name__}"
        )
    if isinstance(guidance, tuple | list):
        raise ValueError("a function draws at one guidance; tune at each that is wanted")
    if denoiser is None or scheduler is None:
        raise ValueError("a function needs the denoiser and the scheduler of its loop")
    return LoopSubject(target, denoiser, scheduler)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
