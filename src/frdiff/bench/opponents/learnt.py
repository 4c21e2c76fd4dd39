"""A learnt solver: the strongest of those that only weigh scores, at any number of them.

Weights, noise levels and the sample's own weight are learnt by gradient through the sampling loop,
as by Shaul et al., Bespoke Non-Stationary Solvers, ICML 2024, arXiv 2403.01329; Frankel et al.,
S4S: Solving for a Diffusion Model Solver, ICML 2025, arXiv 2502.17423; Wang et al.,
Differentiable Solver Search, ICML 2025, arXiv 2505.21114. All policies that only jump are points
of this family: at as many network calls the best of it bounds them, up to what is not learnt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from frdiff.bench.opponents.levels import noise_of
from frdiff.bench.opponents.linear import LinearScheduler, LinearSolver
from frdiff.bench.opponents.loops import final_latents
from frdiff.denoisers import frozen
from frdiff.search.subject import Batch, PipelineSubject

__all__ = ["PASSES", "RATES", "Freedom", "best_of", "learn", "loss_of"]

RATES = (0.01, 0.03)
LAST_RATE = 0.1  # as a share of the first one
LONGEST_GRADIENT = 20.0
# Of an iteration: a call, the same again, and its gradient.
PASSES = 3


@dataclass(frozen=True)
class Freedom:
    """What is learnt of a solver, apart from the weights of its newest scores.

    Attributes:
        window: how many of the newest scores; None for all.
        sums: rows of weights may sum to other than what they did.
        times: noise levels, but for the first and the last.
        own: the sample's own weight.
    """

    window: int | None = None
    sums: bool = True
    times: bool = True
    own: bool = True


class _Parameters:
    """Changes of a solver, all 0 at first."""

    def __init__(self, start: LinearSolver, freedom: Freedom) -> None:
        self.start, self.freedom = start, freedom
        steps = len(start.own)
        window = freedom.window or steps
        self.learnt = torch.ones(steps, steps).tril().triu(1 - window)
        self.weights = torch.zeros(steps, steps, requires_grad=True)
        self.own = torch.zeros(steps, requires_grad=freedom.own)
        self.steps = torch.zeros(steps - 1, requires_grad=freedom.times)

    @property
    def wanted(self) -> list[Tensor]:
        return [each for each in (self.weights, self.own, self.steps) if each.requires_grad]

    def solver(self) -> LinearSolver:
        """With a gradient; levels fall whatever the parameters are."""
        changes = self.weights * self.learnt
        if not self.freedom.sums:
            shares = self.learnt / self.learnt.sum(1, keepdim=True)
            changes = changes - shares * changes.sum(1, keepdim=True)
        levels = self.start.levels
        if self.freedom.times:
            # Every level's distance from the one before, in logarithms, grows or shrinks.
            logs = levels[:-1].log()
            logs = logs[0] + (logs.diff() * self.steps.exp()).cumsum(0)
            levels = torch.cat([levels[:1], logs.exp(), levels[-1:]])
        return LinearSolver(levels, self.start.weights + changes, self.start.own + self.own)


def learn(
    subject: PipelineSubject,
    start: LinearSolver,
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
    *,
    iterations: int,
    rate: float,
    freedom: Freedom = Freedom(),
    on_iteration: Callable[[int, float, LinearSolver], None] = lambda done, loss, solver: None,
) -> LinearSolver:
    """The solver learnt from `start` by Adam; it is called as often.

    Args:
        batches: in turns, one an iteration.
        wanted: final latents of the converged solution, batch by batch.
        rate: of Adam, falling to a tenth.
        on_iteration: called with the number done, the loss, and the solver from then on.
    """
    parameters = _Parameters(start, freedom)
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
    """The mean over all samples of the logarithm of the mean squared error of final latents."""
    drawn = [_drawn(subject, solver, batch) for batch in batches]
    return _loss(torch.cat(drawn), torch.cat(list(wanted))).item()


def _loss(drawn: Tensor, true: Tensor) -> Tensor:
    errors = (drawn.float().cpu() - true).square().flatten(1).mean(1)
    return (errors + torch.finfo(torch.float32).tiny).log().mean()


def _drawn(subject: PipelineSubject, solver: LinearSolver, batch: Batch) -> Tensor:
    scheduler = LinearScheduler.of(solver, noise_of(subject.scheduler))
    return final_latents(subject, scheduler, len(solver.own), batch)


def _fixed(solver: LinearSolver) -> LinearSolver:
    return replace(solver, **{name: value.detach() for name, value in vars(solver).items()})
