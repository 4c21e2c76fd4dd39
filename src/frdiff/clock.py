"""The clock: run start, step count and step index, taken from the scheduler.

Every pipeline sets its timesteps through `scheduler.set_timesteps` and ends each step with
`scheduler.step`, so these two calls, wrapped on the instance, tell the time for all of them,
img2img and custom timesteps included, without counting network calls.
"""

import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

__all__ = ["Clock", "Wrapped", "noise_coordinates"]


class Wrapped:
    """A scheduler's method, wrapped on the instance; a copy of the scheduler gets its own back."""

    def __init__(self, scheduler: SchedulerMixin, name: str, wrapper: Callable[..., Any]) -> None:
        functools.update_wrapper(self, getattr(scheduler, name))
        self._scheduler = scheduler
        self._name = name
        self._wrapper = wrapper

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo.get(id(self._scheduler))
        if copied is None:
            return self
        return MethodType(getattr(type(copied), self._name), copied)


class _Timed(Wrapped):
    """A method that drives a clock."""


class Clock:
    """Calls back when a run begins and when a step ends.

    Args:
        scheduler: its `set_timesteps` and `step` are wrapped until `detach`.
        on_start: called when timesteps have been set: a run begins.
        on_step: called with the index of the step that just ended, the run's step count and what
            `scheduler.step` returned.

    Raises:
        ValueError: the scheduler already drives another run.
    """

    def __init__(
        self,
        scheduler: SchedulerMixin,
        on_start: Callable[[], None],
        on_step: Callable[[int, int, Any], None],
    ) -> None:
        if isinstance(scheduler.step, _Timed):
            raise ValueError(
                "this scheduler already drives another run of frdiff; call run.remove() on that "
                "one, or give this pipeline its own: "
                "pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)"
            )
        self.scheduler = scheduler
        self._on_start = on_start
        self._on_step = on_step
        self._replaced: list[tuple[str, Any, Any]] = []
        self.first: int | None = None
        self.index = 0
        self._wrap()

    def _wrap(self) -> None:
        set_timesteps, step = self.scheduler.set_timesteps, self.scheduler.step
        place = list(inspect.signature(step).parameters).index("timestep")

        def start(*args: Any, **kwargs: Any) -> Any:
            result = set_timesteps(*args, **kwargs)
            if self._replaced:
                self.restart()
                self._on_start()
            return result

        def end(*args: Any, **kwargs: Any) -> Any:
            if not self._replaced:
                return step(*args, **kwargs)
            # Read before the scheduler moves its own counters.
            self._locate(kwargs["timestep"] if "timestep" in kwargs else args[place])
            result = step(*args, **kwargs)
            self._tick(result)
            return result

        for name, wrapper in (("set_timesteps", start), ("step", end)):
            ours = _Timed(self.scheduler, name, wrapper)
            self._replaced.append((name, self.scheduler.__dict__.get(name), ours))
            setattr(self.scheduler, name, ours)

    @property
    def num_steps(self) -> int:
        """Steps of the current run: fewer than the scheduler's where it starts in the middle."""
        return len(self.scheduler.timesteps) - (self.first or 0)

    def restart(self) -> None:
        """Set the clock to the beginning of a run."""
        self.first, self.index = None, 0

    def detach(self) -> None:
        """Give the scheduler its own methods back.

        A method that somebody else wrapped since stays; ours beneath it does nothing any more.
        """
        for name, before, ours in self._replaced:
            if self.scheduler.__dict__.get(name) is not ours:
                continue
            if before is None:
                delattr(self.scheduler, name)
            else:
                setattr(self.scheduler, name, before)
        self._replaced.clear()

    def _locate(self, timestep: Any) -> None:
        """Find where a run starts, and check that its steps follow one another."""
        place = _place_in(self.scheduler.timesteps, timestep)
        if self.first is None:
            if place is None:
                begin = getattr(self.scheduler, "begin_index", None)
                place = begin if begin is not None else self._search(timestep)
            self.first = place
        elif place is not None and place != self.first + self.index:
            raise RuntimeError(
                f"scheduler.step() number {self.index + 1} of this run got timestep number "
                f"{place + 1}, expected {self.first + self.index + 1}; call "
                "scheduler.set_timesteps() before each run, and step once per timestep"
            )

    def _search(self, timestep: Any) -> int:
        matches = (self.scheduler.timesteps == timestep).nonzero()
        return int(matches[0]) if len(matches) else 0

    def _tick(self, result: Any) -> None:
        index, num_steps = self.index, self.num_steps
        self.index += 1
        # A loop that runs again over the same timesteps begins a new run.
        if self.index >= num_steps:
            self.restart()
        self._on_step(index, num_steps, result)


def _place_in(timesteps: Tensor, timestep: Any) -> int | None:
    """The index of a timestep that is a view into `timesteps`, as loops over them give; else None.

    Needs no comparison of values, so no device synchronisation, and tells equal timesteps apart.
    """
    if not isinstance(timestep, Tensor) or timestep.dim() != 0 or timestep.dtype != timesteps.dtype:
        return None
    if timestep.untyped_storage().data_ptr() != timesteps.untyped_storage().data_ptr():
        return None
    return (timestep.storage_offset() - timesteps.storage_offset()) // timesteps.stride(0)


def noise_coordinates(scheduler: SchedulerMixin) -> list[float]:
    """The logarithm of the noise level of every timestep, as the scheduler has them set.

    Raises:
        ValueError: the scheduler has neither `sigmas` nor `alphas_cumprod`.
    """
    count = len(scheduler.timesteps)
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, Tensor) and count <= len(sigmas) <= count + 1:
        levels = sigmas[:count].double()
    elif isinstance(getattr(scheduler, "alphas_cumprod", None), Tensor):
        alphas = scheduler.alphas_cumprod.double().cpu()
        # Zero terminal SNR has no finite noise level; diffusers' own solvers clamp it likewise.
        kept = alphas[scheduler.timesteps.cpu().long().clamp(0, len(alphas) - 1)].clamp(min=2**-24)
        levels = ((1 - kept) / kept).sqrt()
    else:
        raise ValueError(
            f"{type(scheduler).__name__} tells no noise levels (sigmas or alphas_cumprod); "
            "use coordinate='step'"
        )
    return levels.clamp(min=torch.finfo(torch.float64).tiny).log().tolist()
