"""Divergence: scores that are not finite, or larger than those computed around them.

A score that is not computed feeds on earlier ones; where the sampler is stiff, at high guidance and
few steps, their errors may grow from step to step. What steps are given is measured on its device
and read when the run has ended.
"""

from typing import Any

import torch
from torch import Tensor

from frdiff.plan import Action, Plan

__all__ = ["Divergence"]

# Shipped policies reach 1.1, runs that have collapsed up to 3.3. Scores that do no more than change
# their signs come to 2.3 by linear extrapolation over three steps.
GROWTH = 2.5


class Divergence:
    """Watches the scores that the steps of one run are given, guidance included."""

    def __init__(self) -> None:
        self._sizes: dict[int, Tensor] = {}

    def note(self, index: int, score: Any) -> None:
        """Take the score of step `index`: its root mean square, of the sample with the largest."""
        if isinstance(score, Tensor) and score.is_floating_point() and score.numel():
            rows = tuple(range(1, score.ndim))
            self._sizes[index] = score.detach().float().square().mean(rows).amax().sqrt()

    def complaint(self, plan: Plan) -> str | None:
        """What to say of the first step that diverged; None if none did. Waits for the device.

        Args:
            plan: what the steps did.
        """
        if not self._sizes:
            return None
        values = torch.stack(list(self._sizes.values())).tolist()
        sizes = dict(zip(self._sizes, values, strict=True))
        remedy = (
            "the run diverges. Take more keyframes or less guidance, JumpPolicy(2, checked=True), "
            "or run frdiff.tune at this guidance"
        )
        keyframes = [index for index in plan.keyframes if index in sizes]
        for index, size in sizes.items():
            if not size < float("inf"):
                return f"the score of step {index} is not finite: {remedy}"
            if plan[index].action is Action.KEYFRAME:
                continue
            following = next((key for key in keyframes if key > index), index)
            largest = max((sizes[key] for key in keyframes if key <= following), default=size)
            if size > GROWTH * largest:
                return (
                    f"the score of step {index}, a {plan[index].action} step, is "
                    f"{size / largest if largest else float('inf'):.1f} times as large as any "
                    f"computed up to the next keyframe: {remedy}"
                )
        return None
