"""What stands in for one target: on keyframes it stores, on reuse steps it skips.

The wrapped forwards only read flags and tensors that are set between steps, see `frdiff.run.patch`.
What a target stores, and what is left of it where it is skipped, depends on its place in the
layout: by itself, in a run of targets that are stored as one, or unread.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frdiff.adapters import Target
from frdiff.bank.shelf import Shelf
from frdiff.bank.slot import Slot
from frdiff.network.calls import first_input
from frdiff.network.layout import Place
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.plan import Action

if TYPE_CHECKING:
    from frdiff.run.patch import DenoiserPatch
    from frdiff.run.progress import Progress

__all__ = ["StandIn"]

Forward = Callable[..., Any]


class StandIn:
    """One target of a patched denoiser.

    Args:
        patch: of the denoiser.
        index: of the target among all.
        group: of the target.
        number: of its slot among those of the group.
    """

    def __init__(
        self, patch: "DenoiserPatch", index: int, target: Target, group: int, number: int
    ) -> None:
        self.patch = patch
        self.index = index
        self.target = target
        self.group = group
        self.number = number

    def source(self, compute: Forward) -> Forward:
        """The forward of the target's source: computed, and its features stored."""

        def store(*args: Any, **kwargs: Any) -> Any:
            result = compute(*args, **kwargs)
            if self._stores(self.patch.progress):
                place = self._place
                if self._is_alone:
                    features = self.target.extract((args, kwargs), result)
                    self._slot().store(form_of(result), features)
                elif place.read and place.first == self.index and not (place.passes or place.folds):
                    self._slot().own = self.target.extract((args, kwargs), result)
            return result

        return store

    def module(self, compute: Forward) -> Forward:
        """The forward of the target: computed, or put together from what is stored."""

        def replay(*args: Any, **kwargs: Any) -> Any:
            now = self.patch.progress
            if now.reusing and now.skipped[self.index]:
                turn = now.turns[self.index]
                now.turns[self.index] += 1
                held = self._rejoined(args, kwargs, turn)
                if held is not None:
                    return held[0]
            result = compute(*args, **kwargs)
            if self._stores(now) and not self._is_alone:
                self._sum(args, kwargs, result)
            if now.threshold is not None and self.group == 0 and now.reusing:
                _decide(now, self._slot())
            return result

        return replay

    def idle(self, number: int, compute: Forward) -> Forward:
        """The forward of a module that only the target reads: zeros where that is skipped."""

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            now = self.patch.progress
            shelf, slot = self._shelf(), self._slot()
            known = slot.idle.get(number)
            if now.reusing and now.skipped[self.index] and known and shelf.holds(self.number):
                form, kinds = known
                like = tensors_in((args, kwargs))[0]
                return filled(form, [like.new_zeros(shape, dtype=dtype) for shape, dtype in kinds])
            result = compute(*args, **kwargs)
            if now.keeps_features and self.patch.attached:
                slot.idle[number] = form_of(result), _kinds(result)
            return result

        return stand_in

    @property
    def _place(self) -> Place:
        return self.patch.layout.places[self.index]

    @property
    def _is_alone(self) -> bool:
        place = self._place
        return place.read and place.first == place.last and not place.folds

    def _stores(self, now: "Progress") -> bool:
        computes = not (now.reusing and now.skipped[self.index])
        return now.keeps_features and self.patch.attached and computes

    def _shelf(self) -> Shelf:
        return self.patch.progress.current.shelves[self.group]

    def _slot(self) -> Slot:
        return self._shelf().slots[self.number]

    def _sum(self, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Take part in the sum of a run; or note what an unread target returns."""
        place, slot = self._place, self._slot()
        returned = tensors_in(result)
        slot.noted = form_of(result), _kinds(result)
        if not place.read:
            return
        if place.first == self.index:
            slot.anchors = self._anchors(args, kwargs, returned)
        if place.last == self.index:
            begun = self.patch.stand_ins[place.first]._slot()
            features = tuple(
                (tensor - begun.anchors[origin]).to(tensor.dtype)
                for tensor, origin in zip(returned, place.origins, strict=True)
            )
            begun.anchors = ()
            begun.store(None, features)

    def _anchors(
        self, args: tuple, kwargs: dict[str, Any], returned: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """What the run adds to, of its first target: what a step that skips it makes afresh."""
        place, slot = self._place, self._slot()
        if place.folds is not None:
            inputs = first_input(args, kwargs).clone()
            inputs[:, slice(*place.folds)] = 0
            nothing = torch.zeros_like(returned[0])
            return (self.target.rejoin(((inputs,), {}), (nothing,), ...),)
        if place.passes:
            return tuple(place.passed(args, kwargs))
        # All that it returns but its feature.
        own, slot.own = slot.own, ()
        return tuple(tensor - feature for tensor, feature in zip(returned, own, strict=True))

    def _rejoined(self, args: tuple, kwargs: dict[str, Any], turn: int) -> tuple[Any] | None:
        """What the target returns where it is skipped; None if nothing is stored."""
        place, slot = self._place, self._slot()
        if place.read and place.first == self.index:
            held = self._shelf().value(self.number, turn)
            return None if held is None else (self._with(args, kwargs, *held),)
        if slot.noted is None:
            return None
        form, kinds = slot.noted
        if place.passes:
            return (filled(form, place.passed(args, kwargs)),)
        like = tensors_in((args, kwargs))[0]
        # What is folded into a run is in its sum; what else is unread does not matter.
        make = like.new_empty if place.first == self.index else like.new_zeros
        return (filled(form, [make(shape, dtype=dtype) for shape, dtype in kinds]),)

    def _with(
        self, args: tuple, kwargs: dict[str, Any], form: Any, features: tuple[Tensor, ...]
    ) -> Any:
        """What a target that is alone or the first of a run returns, with what is stored."""
        place, noted = self._place, self._slot().noted
        if self._is_alone or noted is None:
            return self.target.rejoin((args, kwargs), features, form)
        form, _ = noted
        by_stream = dict(zip(self.patch.layout.places[place.last].origins, features, strict=True))
        if not place.passes:
            ordered = tuple(by_stream[stream] for stream in range(len(by_stream)))
            return self.target.rejoin((args, kwargs), ordered, form)
        parts = place.passed(args, kwargs)
        for stream, feature in by_stream.items():
            parts[stream] = (parts[stream] + feature).to(feature.dtype)
        return filled(form, parts)


def _kinds(result: Any) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in tensors_in(result)]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _decide(now: "Progress", probe: Slot) -> None:
    """Make the step a keyframe if the probe has changed too much; once per step."""
    if now.threshold is None or probe.fresh is None:
        return
    pairs = list(zip(*probe.change(), strict=True))
    change = torch.stack([_change(new.float(), old.float()) for new, old in pairs]).mean()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # All ranks must go the same way, or those that compute wait for the others for ever.
        torch.distributed.all_reduce(change)
        change = change / torch.distributed.get_world_size()
    now.change += change.item()
    if now.change > now.threshold:
        now.action, now.reusing, now.change = Action.KEYFRAME, False, 0.0
        now.current.stored = True
    now.threshold = None


def _change(new: Tensor, old: Tensor) -> Tensor:
    """Relative, on average."""
    return (new - old).abs().mean() / old.abs().mean().clamp(min=1e-12)
