"""How far a search is: what was drawn so far, in full runs, of what it will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from frdiff.search.within import Candidate

__all__ = ["FIRST", "Account", "OnEvent", "Progress", "shown"]


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        doing: what is done, or was done last.
        done: policies measured, or iterations made; not above `total` but for a few.
        total: expected.
        candidate: the policy measured; None where none was.
        runs: what was drawn since the search began, in full runs of the samples of one half. A
            search that goes on from its journal draws less than it is expected to.
        all_runs: expected; it draws some more or fewer.
    """

    doing: str
    done: int
    total: int
    candidate: "Candidate | None" = None
    runs: float = 0.0
    all_runs: float = 0.0


OnEvent = Callable[[Progress], None]
FIRST = "measuring the full run"
COLUMNS = (
    "{task.description}",
    BarColumn(),
    "{task.completed:.1f} of {task.total:.0f} full runs",
    TimeRemainingColumn(),
)


@contextmanager
def shown(doing: str) -> Iterator[OnEvent]:
    """What shows a search as a bar on stderr; nothing where that is neither terminal nor notebook.

    Args:
        doing: what is done before anything is told.
    """
    console = Console(stderr=True)
    silent = not (console.is_terminal or console.is_jupyter)
    with Bars(*COLUMNS, console=console, transient=True, disable=silent) as bars:
        bar = bars.add_task(doing, total=1)

        def show(now: Progress) -> None:
            best = "" if now.candidate is None else f", {now.candidate.quality:.1f} dB"
            said = escape(now.doing + best)
            bars.update(bar, description=said, completed=now.runs, total=now.all_runs)

        yield show


class Account:
    """Adds up what a search draws, and tells of it.

    Args:
        on_event: who is told.
        samples: of a half.
        all_runs: see `Progress`.

    Attributes:
        doing, done, total, all_runs: see `Progress`; whoever knows better sets them.
    """

    def __init__(self, on_event: OnEvent, samples: int, all_runs: float) -> None:
        self.doing, self.done, self.total = FIRST, 0, 0
        self.all_runs = all_runs
        self._on_event = on_event
        self._samples = samples
        self._runs = self._learning = 0.0

    def tell(self, doing: str | None = None, candidate: "Candidate | None" = None) -> None:
        """Tell how far it is.

        Args:
            doing: what is done now; None for what was done before.
        """
        self.doing = doing or self.doing
        runs = self._runs + self._learning
        at_most = max(self.all_runs, runs)
        self._on_event(Progress(self.doing, self.done, self.total, candidate, runs, at_most))

    def drawn(self, runs: float, samples: int) -> None:
        """Add what was drawn, and tell.

        Args:
            runs: its cost, in that of a full run.
            samples: how many were drawn so.
        """
        self._runs += runs * samples / self._samples
        self.tell()

    def learning(self, runs: float, doing: str) -> None:
        """Tell what learning has taken by now, in full runs."""
        self._learning = runs
        self.tell(doing)

    def learnt(self) -> None:
        """Add what learning has taken, now that it has ended."""
        self._runs += self._learning
        self._learning = 0.0
