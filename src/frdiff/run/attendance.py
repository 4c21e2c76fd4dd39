"""Attendance: which denoiser calls are those of a run.

Others are those of an inversion or of what goes before or after the loop, of another pipeline with
the same network, or of another thread. Before a call is made, as long as it is not compiled, its
time and its thread tell; after the step its inputs do, for compiled calls too.
"""

import threading
from collections.abc import Sequence
from typing import Any

from frdiff.bank.bank import Bank, Context
from frdiff.schedulers.timesteps import Timing, time_given

__all__ = ["Attendance"]


class Attendance:
    """Tells which calls of denoisers are those of a run.

    Args:
        denoisers: their classes.

    Attributes:
        ever_ignored: whether there has been a call that was not.
        ignored: whether there has been one since the last step.
        astray: whether the calls are those of a loop without steps, until the next run begins.
        thread: of the calls of the run; None before the first.
    """

    def __init__(self, denoisers: Sequence[type]) -> None:
        self._denoisers = denoisers
        self._timing = Timing()
        self.ever_ignored = self.ignored = self.astray = False
        self.begin()

    def begin(self) -> None:
        """Begin a run."""
        self._timing.begin()
        self._seen = 0
        self.ignored = self.astray = False
        self.thread: int | None = None

    def check_thread(self) -> None:
        """Refuse a call from another thread than that of the run.

        Raises:
            RuntimeError: it is one.
        """
        if self.thread not in (None, threading.get_ident()):
            raise RuntimeError(
                "a denoiser with a policy was called from a thread other than that of its run; "
                "pipelines in several threads cannot share one. Give each its own, or each "
                "request a state of its own: with run.state(scheduler): ..."
            )

    def begins(self, number: int, call: tuple[tuple, dict], scheduler: Any, first: int) -> bool:
        """Whether a call after the end of a run begins another over the same timesteps.

        Args:
            number: of the denoiser.
            first: where among the scheduler's timesteps the last run began.
        """
        return self._timing.known and self._timing.belongs(
            time_given(self._denoisers[number], *call), scheduler, first
        )

    def admits(
        self, number: int, call: tuple[tuple, dict], scheduler: Any, place: int | None
    ) -> bool:
        """Whether a call is one of the step at hand; as far as can be told before it is made.

        Args:
            number: of the denoiser.
            place: of the step among the scheduler's timesteps; None for a first step.
        """
        moment = time_given(self._denoisers[number], *call)
        if not self._timing.belongs(moment, scheduler, place):
            return False
        if place is None and self._timing.wanders(moment):
            self.astray = True
            return False
        self._seen += 1
        self.thread = threading.get_ident()
        return True

    def ignore(self) -> None:
        """Take note of a call that is not the run's."""
        self.ever_ignored = self.ignored = True

    def settle(
        self,
        called: Sequence[tuple[int, Context]],
        banks: Sequence[Bank],
        scheduler: Any,
        index: int,
        place: int,
    ) -> list[tuple[int, Context]]:
        """The calls of a step that belong to it; what others have stored is forgotten.

        Args:
            called: the calls by number of the denoiser.
            banks: of every denoiser.
            index: of the step.
            place: of it among the scheduler's timesteps.

        Raises:
            RuntimeError: a compiled call is seen only now, and it was none of the run's, one too
                many, or came in another order than those before.
        """
        compiled = len(called) > self._seen
        self._seen, self.ignored = 0, False
        times = [
            time_given(self._denoisers[number], *context.example) for number, context in called
        ]
        own = []
        for (number, context), belongs in zip(
            called, self._timing.settle(times, scheduler, place), strict=True
        ):
            if context is banks[number].overflow:
                raise RuntimeError(
                    "the compiled denoiser was called more than "
                    f"{len(banks[number].contexts)} times in a step; let it run without "
                    "torch.compile, or with more views at a time"
                )
            if belongs and compiled and banks[number].misplaced(context):
                raise RuntimeError(
                    "the calls of a compiled denoiser changed their order between steps, as where "
                    "guidance is switched on or off, so what is stored for one was reused for "
                    "another; let it run without torch.compile, or make the same calls in all steps"
                )
            if belongs:
                own.append((number, context))
            elif compiled and index:
                raise RuntimeError(
                    "a compiled denoiser with a policy was called between the steps of its run: "
                    "pipelines that share it cannot take turns. Give each request a state of its "
                    "own: with run.state(scheduler): ..."
                )
            else:
                context.clear()
        return own
