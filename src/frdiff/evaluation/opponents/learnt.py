"""A learnt solver: the strongest of those that only weigh scores, at any number of them.

Weights, noise levels and the sample's own weight are learnt by gradient through the sampling loop,
as by Shaul et al., Bespoke Non-Stationary Solvers, ICML 2024, arXiv 2403.01329; Frankel et al.,
S4S: Solving for a Diffusion Model Solver, ICML 2025, arXiv 2502.17423; Wang et al.,
Differentiable Solver Search, ICML 2025, arXiv 2505.21114. All policies that only jump are points
of this family: at as many network calls the best of it bounds them, up to what is not learnt.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from frdiff.evaluation.opponents.forms import linear_form
from frdiff.evaluation.opponents.freedom import ALL, Freedom, Parameters
from frdiff.evaluation.opponents.levels import noise_of
from frdiff.evaluation.opponents.linear import LinearScheduler, LinearSolver
from frdiff.evaluation.opponents.loops import converged_latents, final_latents, in_parts
from frdiff.network.denoisers import frozen
from frdiff.schedulers.named import is_flow
from frdiff.search.subject import Batch, PipelineSubject, scheduler_of

__all__ = ["PASSES", "RATES", "STARTS", "best_of", "learn", "learnt_solver", "loss_of"]

STARTS = ("unipc", "unipckarras", "dpm++", "dpm++karras")
FLOW_STARTS = ("flow-euler", "flow-euler-karras", "flow-unipc-karras", "flow-dpm++-karras")
RATES = (0.01, 0.03)
LAST_RATE = 0.1  # as a share of the first one
LONGEST_GRADIENT = 20.0
TOGETHER = 4  # samples of an iteration
# Of an iteration, in runs of its samples: forward, once more, and back.
PASSES = 3


def learnt_solver(
    subject: PipelineSubject,
    steps: int,
    batches: Sequence[Batch],
    iterations: int,
    **freedom: Any,
) -> LinearSolver:
    """The best solver of so many evaluations on these samples, of those learnt at several rates.

    It is learnt from the best of UniPC and DPM-Solver++, for flow matching of Euler too, on even
    and on Karras' noise levels. Each rate costs as much as `PASSES * iterations` of its runs of
    `TOGETHER` samples.

    Args:
        freedom: fields of `Freedom`.
    """
    free = Freedom(**freedom)
    parts = in_parts(batches, TOGETHER)
    wanted = converged_latents(subject, parts)
    names = FLOW_STARTS if is_flow(subject.scheduler) else STARTS
    forms = [linear_form(scheduler_of(subject, name), steps) for name in names]
    start = best_of(subject, forms, parts, wanted)
    found = [
        learn(subject, start, parts, wanted, iterations=iterations, rate=rate, freedom=free)
        for rate in RATES
    ]
    return best_of(subject, [start, *found], parts, wanted)


def learn(
    subject: PipelineSubject,
    start: LinearSolver,
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
    *,
    iterations: int,
    rate: float,
    freedom: Freedom = ALL,
    on_iteration: Callable[[int, float, LinearSolver], None] = lambda done, loss, solver: None,
) -> LinearSolver:
    """The solver of as many evaluations as `start`, and learnt from there by Adam.

    Args:
        batches: in turns, one an iteration.
        wanted: final latents of the converged solution, batch by batch.
        rate: of Adam, falling to a tenth.
        on_iteration: called with the number done, the loss, and the solver from then on.
    """
    parameters = Parameters(start, freedom)
    optimizer = torch.optim.Adam(parameters.wanted, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, rate * LAST_RATE)
    for iteration in range(iterations):
        turn = iteration % len(batches)
        optimizer.zero_grad()
        with frozen(subject.modules):
            loss = _loss(_drawn(subject, parameters.solver(), batches[turn]), wanted[turn])
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.wanted, LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        on_iteration(iteration + 1, loss.item(), _fixed(parameters.solver()))
    return _fixed(parameters.solver())


def best_of(
    subject: PipelineSubject,
    solvers: Sequence[LinearSolver],
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
) -> LinearSolver:
    """The one of the least loss on all batches."""
    return min(solvers, key=lambda solver: loss_of(subject, solver, batches, wanted))


@torch.no_grad()
def loss_of(
    subject: PipelineSubject,
    solver: LinearSolver,
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
) -> float:
    """The mean over all samples of the logarithm of the mean squared error of final latents.

    Infinite where a sample is not finite.
    """
    drawn = [_drawn(subject, solver, batch) for batch in batches]
    loss = _loss(torch.cat(drawn), torch.cat(list(wanted))).item()
    return loss if math.isfinite(loss) else math.inf


def _loss(drawn: Tensor, true: Tensor) -> Tensor:
    errors = (drawn.float().cpu() - true).square().flatten(1).mean(1)
    return (errors + torch.finfo(torch.float32).tiny).log().mean()


def _drawn(subject: PipelineSubject, solver: LinearSolver, batch: Batch) -> Tensor:
    scheduler = LinearScheduler.of(solver, noise_of(subject.scheduler))
    return final_latents(subject, scheduler, len(solver.own), batch)


def _fixed(solver: LinearSolver) -> LinearSolver:
    return replace(solver, **{name: value.detach() for name, value in vars(solver).items()})
