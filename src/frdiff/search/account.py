"""How far a search is: what was drawn so far, in full runs, of what it will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from frdiff.progress import bar

if TYPE_CHECKING:
    from frdiff.search.within import Candidate

__all__ = ["FIRST", "Account", "OnEvent", "Progress", "shown"]


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        doing: what is done, or was done last.
        done: policies measured, or iterations made.
        candidate: the policy measured; None where none was.
        runs: what was drawn since the search began, in full runs of the samples of one half. A
            search that goes on from its journal draws less than it is expected to.
        all_runs: expected; it draws some more or fewer.
        paced: whether the rest goes on as fast as what was drawn since this is so. Before, a few
            samples are drawn at a time.
    """

    doing: str
    done: int
    candidate: "Candidate | None" = None
    runs: float = 0.0
    all_runs: float = 0.0
    paced: bool = False


OnEvent = Callable[[Progress], None]
FIRST = "measuring the full run"


@contextmanager
def shown(doing: str) -> Iterator[OnEvent]:
    """What shows a search as a bar on stderr; nothing where that is neither terminal nor notebook.

    Args:
        doing: what is done before anything is told.
    """
    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield lambda now: None
        return
    with bar(doing, console) as show:

        def on_event(now: Progress) -> None:
            best = "" if now.candidate is None else f", {now.candidate.quality:.1f} dB"
            show(now.doing + best, now.runs, now.all_runs, "full runs", now.paced)

        yield on_event


class Account:
    """Adds up what a search draws, and tells of it.

    Args:
        on_event: who is told.
        samples: of a half.
        all_runs: see `Progress`.

    Attributes:
        doing, done, all_runs, paced: see `Progress`; whoever knows better sets them.
    """

    def __init__(self, on_event: OnEvent, samples: int, all_runs: float) -> None:
        self.doing, self.done, self.paced = FIRST, 0, False
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
        self._on_event(Progress(self.doing, self.done, candidate, runs, at_most, self.paced))

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
