"""The clock: run start, step count and step index, taken from the scheduler.

Every pipeline sets its timesteps through `scheduler.set_timesteps` and ends each step with
`scheduler.step`, so these two calls, wrapped on the instance, tell the time for all of them,
img2img and custom timesteps included, without counting network calls.

Two kinds of pipelines step otherwise. Some step twice at one timestep: the second time ends no
step, since no network was called for it. Some let copies of the scheduler step, one per frame or
for the sound beside the video: the first that steps after a network call ends the step.
"""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from diffusers import SchedulerMixin
from torch import Tensor

from frdiff.network.wrapped import Wrapped
from frdiff.schedulers.timesteps import place_in, same_time

__all__ = ["Clock"]


class _Timed(Wrapped):
    """A method that drives a clock; a copy of its scheduler may drive it too."""

    def __init__(self, owner: Any, name: str, wrapper: Callable[..., Any], clock: "Clock") -> None:
        super().__init__(owner, name, wrapper)
        self.clock = clock

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        method = super().__deepcopy__(memo)
        copied = memo.get(id(self.owner))
        return method if copied is None else self.clock.follow(copied, self.name, method)


class _Following(Wrapped):
    """A method of a copy that may drive a clock."""


class Clock:
    """Calls back when a run begins and when a step ends.

    Args:
        scheduler: its `set_timesteps` and `step` are wrapped until `detach`.
        on_start: called when timesteps have been set: a run begins.
        on_step: called with the index of the step that just ended, the run's step count and what
            `scheduler.step` returned.
        on_set: called with the scheduler, or a copy, that has set its timesteps, before anybody
            reads them.
        on_again: called with what `scheduler.step` returned where it ended no step, since the
            timestep was that of the step before.
        pending: whether the network was called since the last step ended. Without it copies of
            the scheduler are their own.

    Attributes:
        driver: the scheduler that ends the steps: the one given, or a copy of it.
        first: where among its timesteps the run begins, had it left none out since; None before
            the first step.
        index: of the current step.
        score: what the step that just ended was given, while it is told.

    Raises:
        ValueError: the scheduler already drives another run, or cannot.
    """

    def __init__(
        self,
        scheduler: SchedulerMixin,
        on_start: Callable[[], None],
        on_step: Callable[[int, int, Any], None],
        *,
        on_set: Callable[[SchedulerMixin], None] = lambda scheduler: None,
        on_again: Callable[[Any], None] = lambda result: None,
        pending: Callable[[], bool] | None = None,
    ) -> None:
        missing = [name for name in ("set_timesteps", "step") if not hasattr(scheduler, name)]
        if missing:
            raise ValueError(
                f"{type(scheduler).__name__} has no {' and no '.join(missing)}, so its loop's "
                "steps cannot be told; use a scheduler that has them"
            )
        if isinstance(scheduler.step, _Timed):
            raise ValueError(
                "this scheduler already drives another run of frdiff; call run.remove() on that "
                "one, or give this pipeline its own: "
                "pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)"
            )
        for method in (scheduler.step, scheduler.set_timesteps):
            if isinstance(method, _Following):
                method.restore()
        self.scheduler = self.driver = scheduler
        self._on_start = on_start
        self._on_step = on_step
        self._on_set = on_set
        self._on_again = on_again
        self._pending = pending
        self.score: Any = None
        self._last: Any = None
        self._last_place: int | None = None
        self._ended = 0
        self._copied_steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._following: list[weakref.ref[_Following]] = []
        self.attached = True
        self.restart()
        wrappers = {
            "set_timesteps": self._starting(scheduler.set_timesteps),
            "step": self._ending(scheduler.step),
        }
        self._wrapped = [_Timed(scheduler, *row, self) for row in wrappers.items()]

    def _starting(self, set_timesteps: Callable[..., Any]) -> Callable[..., Any]:
        def start(*args: Any, **kwargs: Any) -> Any:
            result = set_timesteps(*args, **kwargs)
            if self.attached:
                self._on_set(self.scheduler)
                self.restart()
                self.driver, self._last = self.scheduler, None
                self._on_start()
            return result

        return start

    def _ending(self, step: Callable[..., Any]) -> Callable[..., Any]:
        timestep_of = _timestep_of(step)

        def end(*args: Any, **kwargs: Any) -> Any:
            if not self.attached:
                return step(*args, **kwargs)
            # Read before the scheduler moves its own counters.
            timestep = timestep_of(args, kwargs)
            again = self._is_again(timestep)
            if not again:
                self.driver = self.scheduler
                self._locate(timestep)
            result = step(*args, **kwargs)
            if again:
                self._on_again(result)
            else:
                self._tick(_score_in(args, kwargs), result)
            return result

        return end

    @property
    def num_steps(self) -> int:
        """Steps of the current run: fewer than the scheduler's where it starts in the middle."""
        return len(self.driver.timesteps) - (self.first or 0)

    def restart(self) -> None:
        """Set the clock to the beginning of a run."""
        self.first: int | None = None
        self.index = 0

    def detach(self) -> None:
        """Give the scheduler, and copies of it, their own methods back.

        A method that somebody else wrapped since stays; ours beneath it does nothing any more.
        """
        self.attached = False
        following = [found for row in self._following if (found := row()) is not None]
        for wrapped in [*self._wrapped, *following]:
            wrapped.restore()

    def follow(self, copied: Any, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method of a copy of the scheduler, so that its steps can end those of the run."""
        if not self.attached or self._pending is None:
            return method
        self._copied_steps[copied] = 0
        make = self._starting_copy if name == "set_timesteps" else self._ending_copy
        following = _Following(copied, name, make(weakref.ref(copied), method))
        self._following.append(weakref.ref(following))
        return following

    def _starting_copy(
        self, copied: "weakref.ref[Any]", set_timesteps: Callable[..., Any]
    ) -> Callable[..., Any]:
        def start(*args: Any, **kwargs: Any) -> Any:
            self._copied_steps[copied()] = 0
            result = set_timesteps(*args, **kwargs)
            if self.attached:
                self._on_set(copied())
                if not self.index:
                    self.restart()
                    self._on_start()
            return result

        return start

    def _ending_copy(
        self, copied: "weakref.ref[Any]", step: Callable[..., Any]
    ) -> Callable[..., Any]:
        timestep_of = _timestep_of(step)

        def end(*args: Any, **kwargs: Any) -> Any:
            count = self._copied_steps[copied()]
            self._copied_steps[copied()] = count + 1
            ends = self.attached and self._pending is not None and self._pending()
            leads = self.driver is not self.scheduler
            if self.attached and count != (self.index if ends else self._ended) and (ends or leads):
                raise RuntimeError(
                    f"a copy of the scheduler ends its step {count + 1} in step "
                    f"{(self.index if ends else self._ended) + 1} of the run: copies that are at "
                    "different steps, such as those of diffusion forcing with ar_step above 0, "
                    "cannot share a policy; call run.remove(), or let all frames step together"
                )
            if ends:
                self.driver = copied()
                self._locate(timestep_of(args, kwargs))
            result = step(*args, **kwargs)
            if ends:
                self._tick(_score_in(args, kwargs), result)
            return result

        return end

    def _is_again(self, timestep: Any) -> bool:
        """Whether a step at this timestep goes over the last one again.

        Raises:
            RuntimeError: it does, but the network was called for it.
        """
        pending = self._pending is not None and self._pending()
        if self.driver is not self.scheduler:
            return not pending
        if self._last is None:
            return False
        place = place_in(self.scheduler.timesteps, timestep)
        if place is not None and self._last_place is not None:
            same = place == self._last_place
            expected: bool | None = False
        else:
            same, expected = same_time(timestep, self._last) is True, self._expects(timestep)
        if not same or expected:
            return False
        if pending and self.index and expected is not None:
            raise self.in_parts()
        return not pending

    def in_parts(self) -> RuntimeError:
        """What to raise where the network was called anew for a step at the same timestep."""
        return RuntimeError(
            f"scheduler.step() was called again at the timestep of step {self._ended + 1}, and the "
            "denoiser was called in between: parts of a picture that step one by one cannot be "
            "told from steps. Call the denoiser for all parts before the scheduler steps, or give "
            "each part a state of its own: run.state(scheduler)"
        )

    def _expects(self, timestep: Any) -> bool | None:
        """Whether the next step's timestep is this one too, as where a solver evaluates twice."""
        timesteps, place = self.scheduler.timesteps, (self.first or 0) + self.index
        return same_time(timesteps[place], timestep) if place < len(timesteps) else False

    def _locate(self, timestep: Any) -> None:
        """Find where a run starts, and check that its steps follow one another."""
        place = place_in(self.driver.timesteps, timestep)
        if self.first is None:
            if place is None:
                begin = getattr(self.driver, "begin_index", None)
                place = begin if begin is not None else self._search(timestep)
            self.first = place
        elif place is not None and place > self.first + self.index:
            self.first = place - self.index  # the loop left timesteps out
        elif place is not None and place != self.first + self.index:
            raise RuntimeError(
                f"scheduler.step() number {self.index + 1} of this run got timestep number "
                f"{place + 1}, expected {self.first + self.index + 1}; call "
                "scheduler.set_timesteps() before each run, and step once per timestep"
            )
        self._last, self._last_place = timestep, place

    def _search(self, timestep: Any) -> int:
        if timestep is None:
            return 0
        if isinstance(timestep, Tensor):  # one per sample: they are the same
            timestep = timestep.flatten()[0]
        matches = (self.driver.timesteps == timestep).nonzero()
        return int(matches[0]) if len(matches) else 0

    def _tick(self, score: Any, result: Any) -> None:
        index, num_steps = self.index, self.num_steps
        self._ended = index
        self.index += 1
        # A loop that runs again over the same timesteps begins a new run.
        if self.index >= num_steps:
            self.restart()
        self.score = score
        self._on_step(index, num_steps, result)
        self.score = None


def _timestep_of(step: Callable[..., Any]) -> Callable[[tuple, dict[str, Any]], Any]:
    """What finds the timestep among the arguments of `step`."""
    names = list(inspect.signature(step).parameters)
    place = names.index("timestep") if "timestep" in names else None

    def timestep_of(args: tuple, kwargs: dict[str, Any]) -> Any:
        if place is None or "timestep" in kwargs:
            return kwargs.get("timestep")
        return args[place] if place < len(args) else None

    return timestep_of


def _score_in(args: tuple, kwargs: dict[str, Any]) -> Any:
    """What `step` is given to step by: its first argument."""
    return args[0] if args else kwargs.get("model_output")
