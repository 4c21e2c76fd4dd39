"""What a bank need hold of each target: nothing, a part of a sum, or features of its own.

Residual blocks that follow one another pass their streams on and add to them. Where nothing else
reads a stream on its way, and all are skipped in the same steps, only the sum of what they add
matters: a forecast of the sum is the sum of forecasts with the same weights. Such targets make a
run. What an up-sampler gives to nothing but the shortcut of the block behind it, which is linear,
is a part of that block's sum as well: it is folded into the run. And what a step without them never
reads, such as all that lies below the last stored up-sampler of a U-Net, need not be stored at all.
All this follows from the flow of tensors through a pass, see `frdiff.network.dataflow`; nothing is
assumed of any model.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from frdiff.adapters import Target
from frdiff.network.calls import first_input
from frdiff.network.dataflow import Dataflow, Operation, Return
from frdiff.network.trees import form_of, tensors_in

__all__ = ["Layout", "Place", "layout_of"]


@dataclass(frozen=True)
class Place:
    """Where a target stands in its run.

    Attributes:
        first: number of the run's first target, where its features are kept; the target itself may
            be unread and folded into that run.
        last: number of the last one, which knows the sum.
        origins: per tensor that it returns, the number of the stream of the first target that it
            continues.
        read: whether a step that skips it reads its features, or anything that rests on them.
        passes: per tensor that it returns, the argument that it adds a feature to, by its number or
            its name; none if something that it returns is made anew.
        folds: the channels of its input, from and to, that a target gave which is folded into its
            run; None if none is.
    """

    first: int
    last: int
    origins: tuple[int, ...] = ()
    read: bool = True
    passes: tuple[int | str, ...] = ()
    folds: tuple[int, int] | None = None

    def alone(self, number: int, read: bool) -> "Place":
        """The place of the same target, numbered so, by itself."""
        read = read or self.first != number
        return replace(self, first=number, last=number, origins=(), read=read, folds=None)

    def passed(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        """The arguments that it passes on, of a call."""
        return [args[key] if isinstance(key, int) else kwargs[key] for key in self.passes]


@dataclass(frozen=True)
class Layout:
    """The places of all targets of a denoiser, in their order."""

    places: tuple[Place, ...]

    @classmethod
    def alone(cls, count: int) -> "Layout":
        """Each target for itself: what holds for any flow."""
        return cls(tuple(Place(number, number) for number in range(count)))

    def refined(self, other: "Layout") -> "Layout":
        """What holds for both: the runs that both have, and what either reads."""
        mine, theirs = self._runs(), other._runs()
        kept = {number for run in mine.keys() & theirs.keys() for number in mine[run]}
        places = (
            one if number in kept else one.alone(number, one.read or two.read)
            for number, (one, two) in enumerate(zip(self.places, other.places, strict=True))
        )
        return Layout(tuple(places))

    def _runs(self) -> dict[tuple[tuple[int, Place], ...], list[int]]:
        """The numbers of the targets of every run, by the places in it."""
        runs: dict[int, list[int]] = {}
        for number, place in enumerate(self.places):
            runs.setdefault(place.first, []).append(number)
        return {tuple((n, self.places[n]) for n in run): run for run in runs.values()}

    @property
    def stored(self) -> list[int]:
        """The targets whose returns give what is stored: the last ones of all runs."""
        return [n for n, place in enumerate(self.places) if place.read and place.last == n]


def layout_of(
    targets: Sequence[Target],
    groups: Sequence[int],
    flow: Dataflow,
    result: Any,
    computed: Collection[int] = (),
) -> Layout:
    """The layout that one pass allows.

    Args:
        targets: in module order.
        groups: of each target: skipped together, or not.
        flow: of the pass, watching the modules of all targets and their idle ones.
        result: what the denoiser returned.
        computed: groups that some step with stored features computes; they read all the same.
    """
    calls = _calls(targets, flow)
    read = _read(targets, groups, flow, result, computed)
    runs: list[_Run] = []
    for number in sorted(calls, key=lambda number: calls[number][0]):
        if number not in read:
            continue
        run = runs[-1] if runs else None
        if run is None or not run.join(number, groups[number], result):
            runs.append(_Run(targets, calls, flow, number, groups[number]))
    places = []
    for number, target in enumerate(targets):
        passes = _passes(target, calls[number][1]) if number in calls else ()
        is_read = number in read or number not in calls
        places.append(Place(number, number, read=is_read, passes=passes))
    for run in runs:
        for number, first, last, origins in run.places():
            places[number] = replace(places[number], first=first, last=last, origins=origins)
    for number in sorted(calls.keys() & read):
        found = _folded(number, targets, groups, places, calls, flow, result)
        if found is not None:
            into, folds = found
            first, last = places[into].first, places[into].last
            origins = places[into].origins or (0,)
            places[into] = replace(places[into], folds=folds, origins=origins)
            places[number] = replace(places[number], first=first, last=last, read=False)
    return Layout(tuple(places))


Call = tuple[int, Return]
"""The place of a return among the events of a pass, and that return."""


def _calls(targets: Sequence[Target], flow: Dataflow) -> dict[int, Call]:
    """The only call of every target that is called once, by number; several are left out."""
    numbers = {target.module: number for number, target in enumerate(targets)}
    found: dict[int, list[Call]] = {}
    for place, event in enumerate(flow.events):
        if isinstance(event, Return) and event.module in numbers:
            found.setdefault(numbers[event.module], []).append((place, event))
    return {number: calls[0] for number, calls in found.items() if len(calls) == 1}


def _read(
    targets: Sequence[Target],
    groups: Sequence[int],
    flow: Dataflow,
    result: Any,
    computed: Collection[int],
) -> set[int]:
    """The targets whose features a step that skips them reads, from its result backwards.

    What cannot be seen, such as tensors in an object of a class of its own, counts as read.
    """
    numbers = {target.module: number for number, target in enumerate(targets)}
    skipped = {
        module
        for target, group in zip(targets, groups, strict=True)
        for module in (target.module, *target.idle)
        if group not in computed
    }
    wanted = set(flow.memory(result))
    if not wanted:
        return {*numbers.values()}
    read: set[int] = set()
    for event in reversed(flow.events):
        if isinstance(event, Operation):
            if event.writes & wanted and not skipped.intersection(event.within):
                wanted |= event.reads
            continue
        number = numbers.get(event.module)
        returned = flow.memory(event.result)
        if number is not None and (returned & wanted or not returned or groups[number] in computed):
            read.add(number)
            wanted |= flow.memory(_rejoined_with(targets[number], event))
    return read


def _rejoined_with(target: Target, call: Return) -> Any:
    """What a step that skips a target reads of its inputs."""
    if not target.reads:
        return ()
    bases = _bases(target, call)
    return bases if bases and None not in bases else call.inputs


def _bases(target: Target, call: Return) -> list[Tensor | None]:
    """The streams that a target adds to; none if it may not be stored with others."""
    if target.bases is None:
        return []
    shapes = [tensor.shape for tensor in tensors_in(call.result)]
    return target.bases(call.inputs, form_of(call.result), shapes)


def _passes(target: Target, call: Return) -> tuple[int | str, ...]:
    """The arguments that a target passes on, see `Place`."""
    args, kwargs = call.inputs
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    bases = _bases(target, call)
    # A stream made anew is none of the arguments, though some of these may be None.
    found = [
        next((key for key, value in given if value is base), None)
        for base in bases
        if base is not None
    ]
    passes = tuple(key for key in found if key is not None)
    return passes if len(passes) == len(bases) else ()


def _folded(
    number: int,
    targets: Sequence[Target],
    groups: Sequence[int],
    places: Sequence[Place],
    calls: Mapping[int, Call],
    flow: Dataflow,
    result: Any,
) -> tuple[int, tuple[int, int]] | None:
    """The target that a target can be folded into, and which channels of its input it gives.

    None if something else reads what it gives, or what is read is not linear in it.
    """
    begin, call = calls[number]
    if targets[number].reads or places[number].last != number or len(tensors_in(call.result)) != 1:
        return None
    given = flow.memory(call.result)
    users = [e for e in _operations(flow, begin) if (e.reads | e.writes) & given]
    if len(users) != 1 or not users[0].joined or given & flow.memory(result):
        return None
    (joint,) = users
    for into, target in enumerate(targets):
        place = places[into]
        if target.shortcut is None or into not in calls or groups[into] != groups[number]:
            continue
        _, reader = calls[into]
        inside = [e for e in _operations(flow, begin) if target.module in e.within]
        outside = [e for e in _operations(flow, begin) if target.module not in e.within]
        taken = flow.memory(first_input(*reader.inputs))
        if (
            place.read
            and place.first == into
            and place.folds is None
            and taken == joint.writes
            and not any((e.reads | e.writes) & taken for e in outside if e is not joint)
            and not any(e.writes & taken for e in inside)
            and not taken & flow.memory(result)
        ):
            start = 0
            for memory, channels in joint.joined:
                if memory == given:
                    return into, (start, start + channels)
                start += channels
    return None


def _operations(flow: Dataflow, begin: int) -> list[Operation]:
    return [event for event in flow.events[begin:] if isinstance(event, Operation)]


class _Run:
    """A run that grows: targets each of which passes its streams to the next, and to nobody else.

    Args:
        number: of the first.
        group: of all.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        calls: Mapping[int, Call],
        flow: Dataflow,
        number: int,
        group: int,
    ) -> None:
        self._targets, self._calls, self._flow = targets, calls, flow
        self._group = group
        self._begin, call = calls[number]
        self._bases = _bases(targets[number], call)
        self._passes = _passes(targets[number], call)
        self._members = [number]
        self._origins = [tuple(range(len(tensors_in(call.result))))]

    def places(self) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
        """Of all members: number, first and last of the run, and origins; none if it is alone."""
        first, last = self._members[0], self._members[-1]
        if first != last:
            for number, origins in zip(self._members, self._origins, strict=True):
                yield number, first, last, origins

    def join(self, number: int, group: int, result: Any) -> bool:
        """Take a target in, if that is exact; returns whether it was.

        Args:
            result: of the denoiser, which reads what is in it.
        """
        end, call = self._calls[number]
        passed = tensors_in(self._calls[self._members[-1]][1].result)
        bases = _bases(self._targets[number], call)
        if group != self._group or not self._bases or not _passes(self._targets[number], call):
            return False
        streams = [_place_of(base, passed) for base in bases]
        if None in streams or len({*streams}) != len(streams):
            return False
        origins = tuple(self._origins[-1][stream] for stream in streams if stream is not None)
        # The first target alone must do for the streams that end on the way.
        if len(origins) < len(self._origins[-1]) and not self._passes:
            return False
        modules = {self._targets[member].module for member in (*self._members, number)}
        returned = tensors_in(call.result)
        for tensor in passed:
            on = _place_of(tensor, returned) is not None
            if not on and self._flow.memory(tensor) & self._flow.memory(result):
                return False
            if not self._keeps(tensor, None if on else modules):
                return False
        if any(base is not None and self._is_written(base, end) for base in self._bases):
            return False
        self._members.append(number)
        self._origins.append(origins)
        return True

    def _keeps(self, tensor: Tensor, readers: Collection[nn.Module] | None) -> bool:
        """Whether nothing writes a tensor after the first target, and only `readers` read it."""
        memory = self._flow.memory(tensor)
        for event in self._flow.events[self._begin :]:
            if not isinstance(event, Operation):
                continue
            if event.writes & memory and event.reads & memory:
                return False
            read = bool(event.reads & memory)
            if read and readers is not None and not any(m in readers for m in event.within):
                return False
        return True

    def _is_written(self, tensor: Tensor, end: int) -> bool:
        memory = self._flow.memory(tensor)
        events = self._flow.events[self._begin : end]
        return any(isinstance(event, Operation) and event.writes & memory for event in events)


def _place_of(tensor: Tensor | None, among: Sequence[Tensor]) -> int | None:
    return next((place for place, other in enumerate(among) if other is tensor), None)
