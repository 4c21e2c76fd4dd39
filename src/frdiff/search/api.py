"""From a budget to a policy."""

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import nn

from frdiff.choices import METHODS, OVERHEAD, PARETO, VARIABLES
from frdiff.denoisers import weights_hash
from frdiff.engines import Place, engine_of
from frdiff.policy import Targets, config_hash
from frdiff.policy.base import MAX_STEPS
from frdiff.policy.checks import check_float, check_int, checked_list, quote
from frdiff.sampling import check_inputs
from frdiff.search.gates import ITERATIONS, RUNS, learn_gates
from frdiff.search.guide import Guide, followed
from frdiff.search.journal import Journal
from frdiff.search.measure import MOST_DECIBELS, Measure
from frdiff.search.outset import learner_of, space_of, targets_of, truth_of
from frdiff.search.solvers import solvers_of
from frdiff.search.subject import Batch, Loop, LoopSubject, PipelineSubject, Subject, work_on
from frdiff.search.tuner import Tuner, versions
from frdiff.search.within import Candidate

__all__ = [
    "METHODS",
    "OVERHEAD",
    "PARETO",
    "VARIABLES",
    "OnEvent",
    "Progress",
    "halves_of",
    "tune",
]

BATCH = 8
# Of guidance, from the least to the greatest of a range, in either half. The polynomial through
# more of them swings between, and the held-out half sees what it does there.
SCALES = ((1.0, 0.0, 0.5), (1.0, 0.25, 0.75))
SEARCHES = 5  # to find out which budget keeps a quality
SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        doing: what was done last.
        done: policies measured, or iterations made; not above `total` but for a few.
        total: expected.
        candidate: the policy measured.
    """

    doing: str
    done: int
    total: int
    candidate: Candidate | None = None


OnEvent = Callable[[Progress], None]


def tune(
    target: DiffusionPipeline | Loop,
    prompts: Sequence[str] | None = None,
    *,
    num_steps: int,
    budget: float | None = None,
    speedup: float | None = None,
    min_psnr: float | None = None,
    pareto: bool = False,
    method: str = "search",
    denoiser: nn.Module | None = None,
    scheduler: SchedulerMixin | None = None,
    allow_scheduler: bool = False,
    vary: Sequence[str] = VARIABLES,
    targets: Targets = "all",
    overhead: float | None = None,
    guidance: float | tuple[float, float] | None = None,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    latents: bool = False,
    quantile: float = 0.5,
    samples: int = 16,
    evaluations: int | None = None,
    seed: int = 0,
    workers: int = 1,
    engine: str = "local",
    resources_per_worker: Mapping[str, float] = MappingProxyType({}),
    address: str | None = None,
    max_bytes: int | None = None,
    journal: str | Path | None = None,
    on_event: OnEvent = lambda progress: None,
) -> Any:
    """The `TablePolicy` that comes closest to the converged solution at a given cost.

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
        prompts: what to draw, the more varied the better; where there are more than `samples` for
            each half, as many are drawn. None for a function, for an unconditional pipeline, or
            where `inputs` have embeddings.
        num_steps: `num_inference_steps` of the full run, with the pipeline's own scheduler.
        budget: cost as a share of the full run's, in (0, 1].
        speedup: or the full run's cost over the policy's, 1 or more. Costs are MACs of the
            denoiser and `overhead`; decoders and text encoders count none, so whole calls gain
            less.
        min_psnr: or the least quality to keep, in dB, as cheaply as can be; not above what the
            converged solution is known to.
        pareto: or a list of policies, one for each of the speed-ups in `PARETO`.
        method: `"search"`, or `"gates"` for the paper's Auto-FR: keyframes alone, as many as the
            budget pays for, learnt by gradient, with features copied. What it finds is returned,
            better or not.
        denoiser: of a function: the network that it calls. It takes `scheduler` too.
        scheduler: of a function: what it steps.
        allow_scheduler: choose DPM-Solver++, on Karras' noise levels or not, or UniPC where they
            come closer; for flow matching Heun, UniPC or DPM-Solver++, on the pipeline's own noise
            levels, those of other shifts, Karras', beta or exponential ones. The policy says so,
            and `frdiff.set_scheduler(pipe, policy.origin.solver)` sets it.
        vary: what to choose, of `"keyframes"` (one by one, beyond evenly crowded ones),
            `"steps"` (more than the budget pays for in full), `"reuse"` (steps with stored
            features), `"targets"` (the last ones may be computed in such steps), `"jumps"` (steps
            without a network call) and `"weights"` (forecasts fitted to every target and step,
            jumps steered towards where the full run leads, steps in full weighed so that they end
            where the converged solution passes, see `frdiff.search.follow`, and at last the numbers
            of the best learnt, see `frdiff.search.learn`; extrapolated otherwise). Mixing weights
            are not among them: what a reuse step's score would be, no full run shows.
        targets: see `Policy`. Where `"all"` finds none, or MACs cannot be counted, steps between
            keyframes are jumps only, with a warning.
        overhead: time of a step with stored features that its MACs do not show, as a share of a
            full step. Larger: fewer steps. By default 0.05, or more where the memory that such a
            step reads and writes says so (see `CallCost.reuse_work`).
        guidance: guidance scale; None for the pipeline's default. The least and the greatest of a
            range find a policy for all between, whose numbers follow the scale of each call (see
            `RangePolicy`): samples are drawn at three scales in each half, and what counts is the
            one at which least is gained on fewer steps.
        inputs: further arguments of the pipeline, such as a picture to start from or prompt
            embeddings. Where they decide how many samples a call makes, it is called as often as
            needed.
        latents: compare final latents and not what the pipeline makes of them: less memory, no
            decoder.
        quantile: of the samples' decibels, in [0, 1]; below 0.5 minds the worst more.
        samples: in each half, drawn 8 at a time; a function is called once for every 8.
        evaluations: policies to measure at most for a budget; by default as many as take the time
            of 4 full runs. Learning takes what is left of 30 with everything else, 4 at least; with
            other numbers of policies as much more or less.
        seed: of noises and proposals. The same seed gives the same policies, byte for byte, on
            one machine with one number of threads.
        workers: to draw with; they do not change the policies.
        engine: `"local"`: they are processes of this machine; `"ray"`: actors of a Ray cluster.
        resources_per_worker, address: of Ray, see `frdiff.engines.Place`.
        max_bytes: that the bank may take in a call with one sample. What was found is stored in as
            many bytes, in the way that loses least on the samples, see `frdiff.fit_memory`.
        journal: a file that keeps what was measured; a search that was killed goes on from it.
        on_event: called with the progress after each policy measured.

    Raises:
        ValueError: not one of `budget`, `speedup`, `min_psnr` and `pareto`; an unknown method, or
            gates with `min_psnr`; arguments out of range; prompts missing; nothing to hook; the
            journal of another search; or a budget, `min_psnr` or `max_bytes` out of reach.
    """
    shares = _shares(num_steps, budget, speedup, min_psnr, pareto)
    if method not in METHODS or (method == "gates" and min_psnr is not None):
        raise ValueError(f"method must be one of {METHODS}, gates without min_psnr, got {method!r}")
    _check(vary, overhead, quantile, samples, evaluations)
    place = Place(engine, workers, resources_per_worker, address)
    if max_bytes is not None:
        check_int("max_bytes", max_bytes, 1, 2**63)
    scales = _scales(guidance)
    subject = _subject(target, denoiser, scheduler, guidance, inputs, latents)
    solvers = solvers_of(subject, allow_scheduler)
    halves = halves_of(subject, prompts, samples, seed, scales)
    wanted = targets_of(subject, targets, vary, method)
    identity = {
        "model": [type(network).__name__ for network in subject.denoisers],
        "weights": weights_hash(subject.denoisers),
        "scheduler": [type(subject.scheduler).__name__, config_hash(subject.scheduler)],
        "prompts": _digest([batch.prompts for half in halves for batch in half]),
        "inputs": sorted(inputs),
        "num_steps": num_steps,
        "targets": targets,
        "overhead": overhead,
        "guidance": scales or guidance,
        "latents": latents,
        "seed": seed,
        "versions": versions(),
    }
    notes = Journal(None if journal is None else Path(journal), identity)
    subject = subject.settled(num_steps, halves[0][0])
    few = halves[0][0]
    space = space_of(subject, num_steps, solvers, few, vary, wanted, method, overhead, notes)
    full = space.full
    with engine_of(work_on(subject), place) as work:
        truth = truth_of(subject, num_steps, space, few, notes, work)
        if min_psnr is not None and truth.agreement is not None and min_psnr > truth.agreement:
            raise ValueError(
                f"min_psnr={min_psnr:g} cannot be told: the best solutions known, with many "
                f"steps, agree to {truth.agreement:.1f} dB; ask for less"
            )
        guide = Guide(subject, notes, followed(halves[0]), work)
        calibration, held_out = (
            Measure(work, truth.setting, half, notes, name, subject.peak, guide)
            for half, name in zip(halves, ("calibration", "held-out"), strict=True)
        )
        climbs = "keyframes" in vary
        budgets = [full * share for share in shares]
        asked = budgets or [full / 2] * SEARCHES

        def on_round(share: float) -> None:
            on_event(Progress(f"learning weights, {share:.0%}", len(calibration.asked), total))

        learner = learner_of(subject, calibration, notes, on_round)
        chosen = (learner, guide) if "weights" in vary else (None, None)
        tuner = Tuner(subject, space, calibration, held_out, quantile, climbs, seed, truth, *chosen)
        total = sum(evaluations or tuner.evaluations(budget) for budget in asked)

        def on_found(candidate: Candidate, left: int) -> None:
            done = len(calibration.asked)
            on_event(Progress(candidate.found_by, done, total, candidate))

        if method == "gates":
            learn = partial(_keyframes_learnt, subject, full, halves[0], wanted, notes, on_event)
            counts = [tuner.keyframes_within(budget) for budget in budgets]
            found = [
                tuner.by_gates(budget, *learn(count))
                for budget, count in zip(budgets, counts, strict=True)
            ]
        elif min_psnr is not None:
            found = [tuner.cheapest(min_psnr, evaluations, on_found)]
        else:
            found = [tuner.within(budget, evaluations, on_found) for budget in budgets]
        if max_bytes is not None:
            found = [tuner.stored(tuned, max_bytes) for tuned in found]
    policies = [tuned.policy for tuned in found]
    return policies if pareto else policies[0]


def _keyframes_learnt(
    subject: Subject,
    num_steps: int,
    half: Sequence[Batch],
    targets: Targets,
    notes: Journal,
    on_event: OnEvent,
    count: int,
) -> tuple[list[int], float]:
    """So many keyframes by learnt gates, and what they cost in full runs of the half."""
    samples = [batch.part(i, i + 1) for batch in half for i in range(len(batch.prompts))]
    question = f"gates, {count} open"
    if question not in notes:
        logits = learn_gates(
            subject,
            num_steps,
            samples,
            keyframes=count,
            targets=targets,
            on_iteration=lambda done, loss, _: on_event(
                Progress(f"gates, loss {loss:.2e}", done, ITERATIONS)
            ),
        )
        notes[question] = sorted(np.argsort(-logits, kind="stable")[:count].tolist())
    learnt = checked_list("keyframes in the journal", notes[question])
    for keyframe in learnt:
        check_int("a keyframe in the journal", keyframe, 0, num_steps - 1)
    if len({*learnt}) != count:
        raise ValueError(f"the journal must have {count} keyframes, got {quote(learnt)}")
    return sorted(learnt), ITERATIONS * RUNS / len(samples) + 1


def _shares(
    num_steps: int,
    budget: float | None,
    speedup: float | None,
    min_psnr: float | None,
    pareto: bool,
) -> list[float]:
    """What runs may cost, as shares of the full run's cost; none where a quality is asked for."""
    check_int("num_steps", num_steps, 2, MAX_STEPS)
    given = [budget is not None, speedup is not None, min_psnr is not None, pareto]
    if sum(given) != 1:
        raise ValueError("give one of budget, speedup, min_psnr and pareto=True")
    if pareto:
        return [1 / factor for factor in PARETO]
    if min_psnr is not None:
        check_float("min_psnr", min_psnr, 0, MOST_DECIBELS)
        return []
    if speedup is not None:
        check_float("speedup", speedup, 1, num_steps)
        return [1 / speedup]
    check_float("budget", budget, 1 / num_steps, 1)
    return [float(budget or 1)]


def _scales(guidance: float | tuple[float, float] | None) -> list[list[float]]:
    """The guidance scales that each half's samples are drawn at, for a range; none for one scale.

    The greatest is the first, where samplers are hardest pressed.
    """
    if not isinstance(guidance, tuple | list):
        return []
    for end in guidance:
        check_float("guidance", end, 1e-3, 1e6)
    if len(guidance) != 2 or guidance[0] >= guidance[1]:
        raise ValueError(
            f"guidance must be a number, or the least and the greatest, got {quote(guidance)}"
        )
    low, high = guidance
    return [[round(low ** (1 - at) * high**at, 4) for at in places] for places in SCALES]


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


def halves_of(
    subject: Subject,
    prompts: Sequence[str] | None,
    samples: int,
    seed: int,
    scales: Sequence[Sequence[float]] = (),
) -> list[list[Batch]]:
    """The batches of the calibration half and of the held-out half; they share nothing.

    Prompts are drawn from the whole list, each as often as any other, give or take one; a single
    one is in both halves, with other noises.
    """
    pool = list(prompts or ())
    if not pool:
        if subject.needs_prompts:
            raise ValueError(
                "this pipeline draws from prompts: give some, the more varied the better"
            )
        pool = [""]
    # Lists are often in some order, and samples must be of all kinds.
    random.Random(seed).shuffle(pool)
    halves = [pool[::2], pool[1::2] or pool]
    size = math.ceil(samples / len(scales[0])) if scales else BATCH
    batches = []
    for number, half in enumerate(halves):
        cycle = [half[i % len(half)] for i in range(samples)]
        first = SEED_STRIDE * (2 * seed + number)
        drawn: Sequence[float | None] = scales[number] if scales else [None]
        batches.append(
            [
                Batch(first + i, tuple(cycle[i : i + size]), drawn[i // size % len(drawn)])
                for i in range(0, samples, size)
            ]
        )
    return batches


def _check(
    vary: Sequence[str],
    overhead: float | None,
    quantile: float,
    samples: int,
    evaluations: int | None,
) -> None:
    unknown = sorted({*checked_list("vary", vary)} - {*VARIABLES})
    if unknown:
        raise ValueError(f"vary must be some of {', '.join(VARIABLES)}, got {unknown}")
    if overhead is not None:
        check_float("overhead", overhead, 0, 0.9)
    check_float("quantile", quantile, 0, 1)
    check_int("samples", samples, 1, 10_000)
    if evaluations is not None:
        check_int("evaluations", evaluations, 1, 1_000_000)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
