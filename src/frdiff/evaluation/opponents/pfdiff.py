"""PFDiff: steps over several levels at once, by a score from a little ahead.

With the last score a sample steps `ahead` levels forward, to a springboard. The score there takes
it from where it was over `skipped` levels to the next: `skipped` + 1 steps by one evaluation.

References:
    PFDiff: Training-Free Acceleration of Diffusion Models Combining Past and Future Scores (Wang,
    Wang, Dong, Zhu, Zhao, ICLR 2025, arXiv 2408.08822), on Euler's method, for diffusion DDIM.
"""

import torch
from torch import Tensor

from frdiff.evaluation.opponents.linear import LinearSolver

__all__ = ["grid_steps", "pfdiff"]

SKIPPED, AHEAD = 2, 1  # which the authors recommend


def grid_steps(evaluations: int, skipped: int = SKIPPED) -> int:
    """Steps of the grid that so many evaluations go over: the first one makes a step alone."""
    return 1 + (evaluations - 1) * (skipped + 1)


def pfdiff(levels: Tensor, skipped: int = SKIPPED, ahead: int = AHEAD) -> LinearSolver:
    """The linear solver over the levels of a grid, whose samples are the springboards.

    Args:
        levels: of the grid, falling to 0, shape (`grid_steps(evaluations)` + 1,).
        skipped: levels, k of the paper.
        ahead: levels, h of the paper.

    Raises:
        ValueError: no evaluations step over so many levels.
    """
    if not 1 <= ahead <= skipped or (len(levels) - 2) % (skipped + 1):
        raise ValueError(
            f"{len(levels) - 1} steps with {skipped} skipped, {ahead} ahead: needs 1 <= ahead <= "
            "skipped, and skipped + 1 steps for every evaluation but the first"
        )
    bases = [0, *range(1, len(levels) - 1, skipped + 1), len(levels) - 1]
    # The first sample and the last are their own springboards.
    boards = [0, *(base + ahead for base in bases[1:-1]), len(levels) - 1]
    steps = len(boards) - 1
    moves = torch.zeros(steps, steps)
    for step in range(steps):
        # Back from this springboard, over to the next base and on to its springboard.
        if step:
            moves[step, step - 1] = levels[bases[step]] - levels[boards[step]]
        moves[step, step] = levels[boards[step + 1]] - levels[bases[step]]
    chosen = levels[boards]
    return LinearSolver(chosen, moves / chosen.diff()[:, None], torch.zeros(steps))
