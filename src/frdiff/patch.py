"""The patch: forwards of one denoiser and of its targets, wrapped on the instances.

The wrapped forwards only read flags and tensors that are set between steps, so that
`torch.compile(denoiser, fullgraph=True)` traces each kind of step once and never breaks.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from frdiff.adapters import Target, find_targets, grouped
from frdiff.bank import MAX_CONTEXTS, Bank, Context, Slot, scalars
from frdiff.calls import copied, outline
from frdiff.plan import Action, Step
from frdiff.policy import Policy
from frdiff.trees import filled, form_of, tensors_in

__all__ = ["DenoiserPatch", "Source", "unpatched"]

_MARK = "_frdiff_patch"


class Source(Protocol):
    """What owns the scheduler: a pipeline, or what stands for a hand-written loop."""

    @property
    def scheduler(self) -> Any:
        """The one in use now."""


class DenoiserPatch:
    """One denoiser with its targets wrapped, its bank, and what it does at the current step.

    Args:
        denoiser: its `forward` and its targets' are replaced on the instances until `detach`.
        policy: which targets in which groups, how many features and scores to keep.
        source: its attribute `scheduler` is the one in use now.
        on_call: called before each denoiser call that is not compiled.

    Attributes:
        action: what the next calls do; a call whose bank holds nothing that fits computes.
        attached: whether the forwards are wrapped now.
        scheduler: the one that ends this denoiser's steps.
        groups: of each target.
        blends: whether the next calls weigh their own score with those of earlier keyframes.
        mixing_weight: share of the reuse score, a tensor so that compiled graphs stay valid.
        threshold: the change of group 0 beyond which the next call computes after all; None once
            that is decided.
        change: of group 0 since the last keyframe.

    Raises:
        ValueError: already patched, or nothing to hook.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        policy: Policy,
        source: Source,
        on_call: Callable[[], None],
    ) -> None:
        self.denoiser = denoiser
        self.targets = find_targets(denoiser, policy.targets) if policy.targets else []
        self.groups = grouped(self.targets, policy.groups) if self.targets else []
        self.policy = policy
        self.stores = policy.reuses
        self.score_depth = policy.score_depth
        self.source = source
        self.scheduler = source.scheduler
        self.on_call = on_call
        self.attached = False
        self._replaced: list[tuple[nn.Module, Any, Callable]] = []
        self.attach()

    def attach(self) -> None:
        """Wrap the forwards.

        Raises:
            ValueError: a policy is already applied to the denoiser.
        """
        if _MARK in self.denoiser.__dict__:
            raise ValueError(
                f"a policy is already applied to this {type(self.denoiser).__name__}; "
                "call run.remove() or leave its `with` block first"
            )
        setattr(self.denoiser, _MARK, True)
        self.attached = True
        self.start()
        for index, target in enumerate(self.targets):
            self._wrap_target(index, target)
        self._wrap_denoiser()

    def renew(self) -> None:
        """Wrap the denoiser's forward again where it was set anew since.

        Model offloading does that after every pipeline call: it takes its hook off, ours with it,
        and puts it on again.
        """
        if getattr(self.denoiser.forward, _MARK, None) is not self:
            self._replaced = [row for row in self._replaced if row[0] is not self.denoiser]
            self._wrap_denoiser()

    def start(self) -> None:
        """Begin a run: an empty bank, and step 0 computes."""
        sizes = [self.groups.count(group) for group in range(len(self.policy.groups))]
        self.bank = Bank(sizes, self.policy.depth, self.score_depth, self.policy.forecast)
        self.context = self.current = self.bank.contexts[0]
        self.action = Action.KEYFRAME
        self.reusing = self.blends = False
        self.skipped = [True] * len(self.targets)
        self.turns = [0] * len(self.targets)
        self.mixing_weight = torch.ones(())
        self.threshold: float | None = None
        self.change = 0.0

    def detach(self) -> None:
        """Give every module its own forward back and forget everything stored."""
        for module, before, ours in reversed(self._replaced):
            # A forward that another library set over ours stays; ours beneath it computes only.
            if module.__dict__.get("forward") is not ours:
                continue
            if before is None:
                del module.forward
            else:
                module.forward = before
        self._replaced.clear()
        if self.attached:
            delattr(self.denoiser, _MARK)
        self.attached = False
        self.start()

    def prepare(self, step: Step, coordinate: float) -> None:
        """Set what the calls of the next step do.

        Args:
            step: its row in the plan.
            coordinate: its place, in the coordinate of the stored keyframes.
        """
        self.action = step.action
        self.threshold = step.threshold
        self.blends = step.corrects
        if step.action is Action.KEYFRAME:
            self.change = 0.0
            self.bank.make_room(range(len(self.policy.groups)), score=True)
            if self.blends:
                self.bank.aim(coordinate, step)
            return
        if step.threshold is None:  # else its change from the last step is still to be seen
            self.bank.make_room(step.computed, score=False)
        self.bank.aim(coordinate, step)
        self.skipped = [group not in step.computed for group in self.groups]
        scores = (score for held in self.bank.used() for score in held.scores.tensors())
        score = next(scores, None)
        if score is not None:
            self.mixing_weight = scalars([step.mixing_weight], score)[0]

    @property
    def pending(self) -> bool:
        """Whether the denoiser was called since the last step ended."""
        return self.context is not self.bank.contexts[0]

    def end_step(self) -> list[Context]:
        """The contexts called in the step that ended, in order; then the first is next again."""
        contexts = self.bank.contexts
        called = contexts[: contexts.index(self.context)]
        self.context = contexts[0]
        return called

    def _replace(self, module: nn.Module, forward: Callable) -> None:
        self._replaced.append((module, module.__dict__.get("forward"), forward))
        module.forward = forward

    def _wrap_target(self, index: int, target: Target) -> None:
        compute_source = target.source.forward
        group = self.groups[index]
        place = self.groups[:index].count(group)

        @functools.wraps(compute_source)
        def store(*args: Any, **kwargs: Any) -> Any:
            result = compute_source(*args, **kwargs)
            if self.stores and self.attached and not (self.reusing and self.skipped[index]):
                slot = self.current.shelves[group].slots[place]
                slot.store(form_of(result), target.extract((args, kwargs), result))
            return result

        self._replace(target.source, store)
        compute_module = target.module.forward

        @functools.wraps(compute_module)
        def replay(*args: Any, **kwargs: Any) -> Any:
            if self.reusing and self.skipped[index]:
                turn = self.turns[index]
                self.turns[index] += 1
                held = self.current.shelves[group].value(place, turn)
                if held is not None:
                    form, features = held
                    return target.rejoin((args, kwargs), features, form)
            result = compute_module(*args, **kwargs)
            if self.threshold is not None and group == 0 and self.reusing:
                self._decide(self.current.shelves[group].slots[place])
            return result

        self._replace(target.module, replay)
        for number in range(len(target.idle)):
            self._wrap_idle(index, target, number)

    def _wrap_idle(self, index: int, target: Target, number: int) -> None:
        """Let a module that only a target reads return zeros where that target is skipped."""
        part = target.idle[number]
        compute = part.forward
        group = self.groups[index]
        place = self.groups[:index].count(group)

        @functools.wraps(compute)
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            shelf = self.current.shelves[group]
            known = shelf.slots[place].idle.get(number)
            if self.reusing and self.skipped[index] and known is not None and shelf.holds(place):
                form, kinds = known
                like = tensors_in((args, kwargs))[0]
                return filled(form, [like.new_zeros(shape, dtype=dtype) for shape, dtype in kinds])
            result = compute(*args, **kwargs)
            if self.stores and self.attached:
                kinds = [(tensor.shape, tensor.dtype) for tensor in tensors_in(result)]
                shelf.slots[place].idle[number] = form_of(result), kinds
            return result

        self._replace(part, stand_in)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _decide(self, probe: Slot) -> None:
        """Make the step a keyframe if the probe has changed too much; once per step."""
        if self.threshold is None or probe.fresh is None:
            return
        pairs = list(zip(probe.fresh, probe.history[0], strict=True))
        change = torch.stack([_change(new.float(), old.float()) for new, old in pairs]).mean()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # All ranks must go the same way, or those that compute wait for the others for ever.
            torch.distributed.all_reduce(change)
            change = change / torch.distributed.get_world_size()
        self.change += change.item()
        if self.change > self.threshold:
            self.action, self.reusing, self.change = Action.KEYFRAME, False, 0.0
            self.current.stored = True
        self.threshold = None

    def _wrap_denoiser(self) -> None:
        compute = self.denoiser.forward

        @functools.wraps(compute)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self.attached:
                return compute(*args, **kwargs)
            if not torch.compiler.is_compiling():
                self.on_call()
            elif self.source.scheduler is not self.scheduler:
                raise RuntimeError(
                    "the pipeline's scheduler was replaced while its compiled denoiser is patched; "
                    "call run.remove() and apply the policy again"
                )
            context = self.context
            if context.next is None:
                raise RuntimeError(
                    f"the denoiser was called {MAX_CONTEXTS} times without a scheduler step, so "
                    "another scheduler than the patched one is in use. Apply the policy to the "
                    "pipeline that runs, or give apply(denoiser, policy) the right scheduler="
                )
            self.context = context.next
            context.example = copied((args, kwargs))  # some denoisers empty the lists they get
            shapes = outline((args, kwargs))
            # Read only where it matters: what a keyframe reads would split its compiled graph.
            fits = self.action != Action.KEYFRAME and context.fits(shapes)
            earlier = context.scores.value(0) if fits and self.score_depth else None
            if self.action == Action.JUMP and earlier is not None:
                return filled(*earlier)
            blends = self.blends and context.fits(shapes)
            self.current = context
            self.reusing = self.action == Action.REUSE and fits
            if not self.reusing:
                # Here already: where the network holds flexible attention, a compiled graph loses
                # what is set after it on an object that was set before it too.
                context.stored, context.outline = True, shapes
            self.turns = [0] * len(self.targets)
            result = compute(*args, **kwargs)
            if self.reusing:
                return result if earlier is None else self._mixed(earlier[1], result)
            if self.score_depth:
                scores = tuple(score.clone() for score in tensors_in(result))
                context.scores.slots[0].store(form_of(result), scores)
            blended = context.scores.blended(0) if blends else None
            return result if blended is None else filled(form_of(result), blended)

        setattr(forward, _MARK, self)
        self._replace(self.denoiser, forward)

    def _mixed(self, earlier: tuple[Tensor, ...], result: Any) -> Any:
        """The result with its scores mixed with earlier ones."""
        mixed = [
            torch.lerp(old, new, self.mixing_weight.to(new))
            for old, new in zip(earlier, tensors_in(result), strict=True)
        ]
        return filled(form_of(result), mixed)


@contextmanager
def unpatched(denoiser: nn.Module) -> Iterator[None]:
    """While it lasts, the denoiser computes in full and stores nothing, patched or not."""
    patch = getattr(denoiser.forward, _MARK, None)
    if patch is None:
        yield
        return
    before = patch.attached, patch.reusing
    patch.attached = patch.reusing = False
    try:
        yield
    finally:
        patch.attached, patch.reusing = before


def _change(new: Tensor, old: Tensor) -> Tensor:
    """Relative, on average."""
    return (new - old).abs().mean() / old.abs().mean().clamp(min=1e-12)
