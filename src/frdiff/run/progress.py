"""Progress: what one denoiser does at the current step of a run, and what it has stored."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from frdiff.bank.bank import Bank, Context
from frdiff.bank.shelf import scalars
from frdiff.network.calls import tensors_within
from frdiff.plan import Action, Step
from frdiff.policy import Policy
from frdiff.storage import keeping_of

__all__ = ["Progress", "Source"]

OnCall = Callable[["Progress", tuple, dict[str, Any]], bool]


class Source:
    """Where the scheduler in use is found: a pipeline, in which it may be swapped."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name

    @property
    def scheduler(self) -> Any:
        """The one in use now."""
        return getattr(self.owner, self.name)


class Progress:
    """What a patched denoiser reads and writes while it runs: one of these per run.

    Args:
        policy: how many features and scores to keep.
        groups: of each target.
        on_call: told of each call that is not compiled, before it is made; answers whether it
            belongs to the run.
        source: of a scheduler that may be swapped; None if it may not.

    Attributes:
        action: what the next calls do; a call whose bank holds nothing that fits computes.
        scheduler: the one that ends the steps.
        context: of the next call, unless its inputs are those of another.
        current: the context of the call that is made.
        reusing: whether that call reuses features.
        skipped: which targets are skipped then.
        turns: how often each target ran in that call.
        keeps_features, keeps_scores: whether keyframes store them.
        blends: whether the next calls weigh their own score, and with it those of earlier
            keyframes.
        opens: whether they are the first of a run.
        opening: what step 0 does.
        first_weight: of its score.
        mixing_weight: share of the reuse score, a tensor so that compiled graphs stay valid.
        sample_weight: of the sample, added to the score of a keyframe or jump; None adds none.
        guidance_weight: of how the halves of a keyframe's score differ; None adds none.
        half: which half a step of halves computes.
        leading: of the first call of such a step, where it is computed in full: its sample, its
            scores and their forecasts; None before.
        threshold: the change of group 0 beyond which the next call computes after all; None once
            that is decided.
        change: of group 0 since the last keyframe.
    """

    def __init__(
        self, policy: Policy, groups: Sequence[int], on_call: OnCall, source: Source | None = None
    ) -> None:
        self.on_call = on_call
        self.source = source
        self.scheduler = source.scheduler if source else None
        self.groups = groups
        self._count = len(policy.groups)
        sizes = [groups.count(group) for group in range(self._count)]
        self.keeps_features = policy.reuses
        self.keeps_scores = policy.score_depth > 0
        self.opening = policy.opening
        self._leans = policy.sample_weights is not None
        self._guides = policy.guidance_weights is not None
        keeping = keeping_of(policy.storage, policy.depth)
        self.bank = Bank(sizes, policy.depth, policy.score_depth, policy.forecast, keeping)
        self.start()

    def start(self) -> None:
        """Begin a run: an empty bank, and step 0 computes."""
        self.bank.clear()
        self.context = self.current = self.bank.contexts[0]
        self.action = Action.KEYFRAME
        self.reusing = False
        self.opens, self.blends = True, self.opening.corrects
        self.first_weight = self.opening.score_weights[0]
        self.sample_weight: Tensor | float | None = (
            self.opening.sample_weight if self._leans else None
        )
        self.guidance_weight: Tensor | float | None = (
            self.opening.guidance_weight if self._guides else None
        )
        self.skipped = [True] * len(self.groups)
        self.turns = [0] * len(self.groups)
        self.mixing_weight = torch.ones(())
        self.half = 1
        self.leading: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]] | None = None
        self.threshold: float | None = None
        self.change = 0.0

    def rest(self) -> None:
        """End a run. Compiled calls may come until the next: they get no more room than it had."""
        most = sum(bool(context.inputs) for context in self.bank.contexts)
        self.start()
        self.bank.link(max(most, 1))

    def prepare(self, step: Step, coordinate: float) -> None:
        """Set what the calls of the next step do.

        Args:
            step: its row in the plan.
            coordinate: its place, in the coordinate of the stored keyframes.
        """
        self.action, self.half, self.leading = step.action, step.half, None
        self.threshold = step.threshold
        self.opens, self.blends = False, step.corrects
        scores = (score for held in self.bank.used() for score in held.scores.tensors())
        score = next(scores, None)
        if self._leans and score is not None:
            self.sample_weight = scalars([step.sample_weight], score)[0]
        if self._guides and score is not None:
            self.guidance_weight = scalars([step.guidance_weight], score)[0]
        if step.action is Action.KEYFRAME:
            self.change = 0.0
            if self.blends:
                self.bank.aim(coordinate, step)
            self.bank.make_room(range(self._count), score=True)
            return
        if step.threshold is None:  # else its change from the last step is still to be seen
            self.bank.make_room(step.computed, score=False)
        self.bank.aim(coordinate, step)
        self.skipped = [group not in step.computed for group in self.groups]
        if score is not None:
            self.mixing_weight = scalars([step.mixing_weight], score)[0]

    def enter(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Settle in which context a call with these arguments is made."""
        rows = [tuple(tensors_within(argument)) for argument in (*args, *kwargs.values())]
        inputs = tuple(tensor for row in rows for tensor in row)
        chosen = self.bank.context_of(inputs, self.context, tells=sum(map(bool, rows)) > 2)
        if chosen is self.bank.overflow:
            room = len(self.bank.contexts)
            self.bank.grow()
            chosen = self.bank.contexts[room]
        self.context = chosen

    @property
    def pending(self) -> bool:
        """Whether the denoiser was called since the last step ended."""
        return self.context is not self.bank.contexts[0]

    def end_step(self) -> list[Context]:
        """The contexts called in the step that ended, in order; then the first is next again."""
        self.context = self.bank.contexts[0]
        return self.bank.called()
