"""Freedom: what may be learnt of a linear solver, and the parameters that it is learnt by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frdiff.evaluation.opponents.linear import LinearSolver

__all__ = ["ALL", "Freedom", "Parameters"]


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


ALL = Freedom()


class Parameters:
    """Changes of a solver, all 0 at first.

    Attributes:
        wanted: those that are learnt.
    """

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
        """The start with these changes, with a gradient; levels fall whatever they are."""
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
