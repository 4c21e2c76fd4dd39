"""Timesteps: which step a denoiser call belongs to, told by the time that it is given.

No comparison here waits for a device: values are read on the CPU only, and elsewhere a time is
known by the memory that it lies in.
"""

import functools
import inspect
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from torch import Tensor

__all__ = ["TIME", "Timing", "place_in", "same_time", "time_given"]

# Inputs of denoisers that tell the time, by any of the names in use.
TIME = re.compile(r".*timestep.*|(.*_)?time|[tr]|sigmas?")
MOST_TIMES = 8


class Rule(Enum):
    """How the time that a denoiser is given follows from the scheduler's timestep."""

    VIEW = "it is the timestep itself, in the scheduler's own memory"
    SAME = "it is the same number"
    SHARE = "it is the share of all training timesteps"
    REST = "it is the share that is over"

    def of(self, timestep: float, total: float) -> float:
        """The number that it makes of a timestep, of `total` training timesteps."""
        return {Rule.SHARE: timestep / total, Rule.REST: 1 - timestep / total}.get(self, timestep)


class Timing:
    """Tells the denoiser calls of a sampling loop from others, by the times that they are given.

    How they follow from the scheduler's timesteps shows at the first step. Others are those of an
    inversion, of what goes before or after the loop, or of another pipeline with the same network.
    """

    def __init__(self) -> None:
        self._rule: Rule | None = None
        self._misled = False
        self.begin()

    def begin(self) -> None:
        """Begin a run: its timesteps have been set."""
        self._values: list[float] | None = None
        self._last: Any = None
        self._different = 0
        self._refused = False

    @property
    def known(self) -> bool:
        """Whether it is known how the times follow from the timesteps."""
        return self._rule is not None

    def belongs(self, time: Any, scheduler: Any, place: int | None) -> bool:
        """Whether a call with this time may belong to a step; as far as known.

        Args:
            place: of the step among the scheduler's timesteps; None for any of them.
        """
        fits = self._rule is None or self._obeys(self._rule, time, scheduler, place)
        self._refused |= not fits
        return fits

    def wanders(self, time: Any) -> bool:
        """Whether more times than those of one step were seen since `begin` or `settle`."""
        self._different += same_time(time, self._last) is False
        self._last = time
        return self._different >= MOST_TIMES

    def settle(self, times: Sequence[Any], scheduler: Any, place: int) -> list[bool]:
        """Which of a step's calls belong to it, now that its place is known.

        Args:
            times: one per call.
        """
        if self._rule is None and not self._misled:
            rules = [rule for rule in Rule if self._any_obeys(rule, times, scheduler, place)]
            # At time 0 several fit; a later step tells.
            self._rule = rules[0] if Rule.VIEW in rules or len(rules) == 1 else None
        belong = [self.belongs(time, scheduler, place) for time in times]
        if self._refused and not any(belong):
            # A step without any call of its own: the rule was a chance likeness.
            self._rule, self._misled = None, True
            belong = [True for _ in times]
        self._last, self._different, self._refused = None, 0, False
        return belong

    def _any_obeys(self, rule: Rule, times: Sequence[Any], scheduler: Any, place: int) -> bool:
        return any(self._obeys(rule, time, scheduler, place, unknown=False) for time in times)

    def _obeys(
        self, rule: Rule, time: Any, scheduler: Any, place: int | None, unknown: bool = True
    ) -> bool:
        if rule is Rule.VIEW:
            found = place_in(scheduler.timesteps, time)
            return found is not None and place in (None, found)
        value = _value(time)
        if value is None:
            return unknown
        if self._values is None:
            self._values = scheduler.timesteps.tolist()
        total = getattr(scheduler.config, "num_train_timesteps", 1000)
        known = self._values if place is None else self._values[place : place + 1]
        room = 2.0**-7 if isinstance(time, Tensor) and time.element_size() == 2 else 1e-4
        wanted = [rule.of(timestep, total) for timestep in known]
        return any(abs(value - number) <= room * max(1, abs(number)) for number in wanted)


def time_given(denoiser: type, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The time that a call gives a denoiser: the input that is named so; None if none is."""
    place, name = _time_input(denoiser)
    if place is None:
        return None
    return args[place] if place < len(args) else kwargs.get(name)


@functools.cache
def _time_input(denoiser: type) -> tuple[int | None, str]:
    names = list(inspect.signature(denoiser.forward).parameters)[1:]  # type: ignore[attr-defined]
    return next(
        ((place, name) for place, name in enumerate(names) if TIME.fullmatch(name)), (None, "")
    )


def place_in(timesteps: Tensor, time: Any) -> int | None:
    """The index of a time that is a view into `timesteps`, as loops over them give; else None.

    Tells equal timesteps apart.
    """
    if not isinstance(time, Tensor) or time.dtype != timesteps.dtype or not time.numel():
        return None
    rows = zip(time.shape, time.stride(), strict=True)
    alone = all(size == 1 or stride == 0 for size, stride in rows)
    if not alone or time.untyped_storage().data_ptr() != timesteps.untyped_storage().data_ptr():
        return None
    place = (time.storage_offset() - timesteps.storage_offset()) // timesteps.stride(0)
    return place if 0 <= place < len(timesteps) else None


def same_time(one: Any, other: Any) -> bool | None:
    """Whether two times are the same; None if nothing but their values on a device would tell."""
    if one is None or other is None:
        return None
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor) and one.device == other.device:
        if one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr():
            return one.storage_offset() == other.storage_offset()
    values = _value(one), _value(other)
    return None if None in values else values[0] == values[1]


def _value(time: Any) -> float | None:
    """The number of a time on the host, the largest where there are several; else None."""
    if isinstance(time, int | float):
        return float(time)
    if isinstance(time, Tensor) and time.device.type == "cpu" and time.numel():
        return float(time.detach().max())
    return None
