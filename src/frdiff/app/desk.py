"""Where the page's buttons are answered, in the process that draws."""

import base64
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from frdiff.app.answers import Drawn, Fields, Found
from frdiff.app.asked import MAX_STEPS, empty, one_of, prompts_of, uploaded, whole
from frdiff.app.choosing import Search, asked, code, summary
from frdiff.app.comparing import FEWER, UNTUNED, compared, ways_of
from frdiff.app.front import plot
from frdiff.app.inspecting import inspected
from frdiff.app.looks import cards, enlarged
from frdiff.app.studio import Opened, Studio
from frdiff.app.turns import Lease, Stopped
from frdiff.app.wording import COMPARE, SEARCH, TRUTHS, message, table

__all__ = ["Desk", "refusals"]

logger = logging.getLogger(__name__)

GLANCE = 0.5  # seconds between looks at a search
PATIENCE = 60.0  # seconds that one goes on with nobody there
FILE = "policy.json"
SIDE = 512  # of enlarged pictures, in pixels, at least


@contextmanager
def refusals() -> Iterator[list[str]]:
    """Gathers the message of what is raised while this lasts, for the page; none if nothing is.

    What a user can mend is said as it is. The traceback of anything else goes to the log.
    """
    said: list[str] = []
    try:
        yield said
    except Stopped:
        said.append(message("stopped; what was drawn before stays"))
    except (ValueError, TypeError, MemoryError, OSError) as error:
        said.append(message(" ".join(str(error).split()), wrong=True))
    except Exception as error:  # what a model's own code may raise
        logger.exception("a request failed")
        said.append(message(f"this failed: {type(error).__name__}: {error}", wrong=True))


class Desk:
    """Answers what the page asks for; takes and returns what can be sent between processes.

    What is refused is answered with a message, and nothing is raised.

    All but searches is drawn in one thread, whoever asks: each thread that computes gets a pool of
    OpenMP's, and when there are more of these threads than cores, none spins while it waits. On two
    cores a picture of `emoji` took 1.9 s in the first thread and 4.8 s in any other.

    Args:
        studio: where it is drawn.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._thread = ThreadPoolExecutor(1, "drawing")

    def opened(self, name: str) -> Opened:
        """See `Studio.opened`; one that is open waits for nobody.

        Raises:
            ValueError: none of those that can be chosen.
        """
        if self._studio.is_open(name):
            return self._studio.opened(name)
        return self._thread.submit(self._studio.opened, name).result()

    def fields(self, name: str) -> Fields:
        """What a model has for the page's fields, opened if it was not.

        Raises:
            ValueError: none of those that can be chosen.
        """
        opened = self.opened(name)
        prompt = opened.prompts[0] if opened.prompts else ""
        guidance = "" if opened.guidance is None else f"{opened.guidance:g}"
        return Fields(
            models=self._studio.models,
            prompt=prompt if opened.takes_prompts else None,
            steps=opened.steps,
            guidance=guidance if opened.takes_guidance else None,
            solvers=opened.solvers,
            ways=[*opened.policies, FEWER, *UNTUNED],
            chosen=[*opened.policies[1:2], FEWER],
            policies=opened.policies,
        )

    def compare(self, session: str, asked: Mapping[str, Any]) -> Iterator[Drawn]:
        """How far a comparison is, after each picture.

        Args:
            session: of whoever asks; what the session compared before is stopped.
            asked: the fields "model", "prompt", "seed", "steps", "guidance", "solver", "against",
                "ways" and "file" (the path of an uploaded one, or None).
        """
        with refusals() as refused, self._studio.begun(session, COMPARE) as stop:
            drawing = _drawn(self._studio, stop, asked)
            try:
                while (one := self._thread.submit(next, drawing, None).result()) is not None:
                    yield one
            finally:
                self._thread.submit(drawing.close)
        if refused:
            yield Drawn(refused[0])

    def search(self, session: str, model: str, answers: Mapping[str, Any]) -> Iterator[Found]:
        """How far a search is, as often as that changes.

        It stops when nobody has asked for the next for a minute: the tab was closed.

        Args:
            session: of whoever asks; what the session searched for before is stopped.
            answers: see `frdiff.app.choosing.asked`.
        """
        with refusals() as refused, self._studio.begun(session, SEARCH, PATIENCE) as stop:
            search = Search(self._studio, asked(self.opened(model), answers), stop)
            yield from _searched(search)
        if refused:
            yield Found(refused[0])

    def inspect(
        self, model: str, name: str, steps: object, guidance: object, file: str | None
    ) -> str:
        """A policy step by step, as HTML.

        Args:
            name: of one that ships, unless there is a file.
            steps: of the run; empty for its own.
            guidance: of a policy for a range; empty for its middle.
        """
        shown = ""
        with refusals() as refused:
            opened = self.opened(model)
            policy = opened.policy(name) if file is None else uploaded(file)
            count = None if empty(steps) else whole("steps", steps, 1, 10_000)
            title = f"<h2>{escape(Path(file).name if file else name)}</h2>"
            asked = opened, policy, count, opened.scale(guidance), self._studio.turns
            shown = title + self._thread.submit(inspected, *asked).result()
        return refused[0] if refused else shown

    def stop(self, session: str, work: str) -> bool:
        """Stop some work of a session, `COMPARE` or `SEARCH`; whether there was any."""
        return self._studio.stop(session, work)

    def leave(self, session: str) -> None:
        """Stop all work of a session: its tab was closed."""
        self._studio.leave(session)


def _drawn(studio: Studio, stop: Lease, asked: Mapping[str, Any]) -> Generator[Drawn]:
    """See `Desk.compare`.

    Raises:
        ValueError: a field that is refused; nothing was drawn.
        Stopped: somebody asked to.
    """
    opened = studio.opened(asked["model"])
    prompts = prompts_of(asked["prompt"], opened.takes_prompts, most=1)
    scene = opened.scene(prompts, asked["seed"], opened.scale(asked["guidance"]))
    full = opened.full(whole("steps", asked["steps"], 1, MAX_STEPS), asked["solver"])
    file = asked["file"]
    policies = {} if file is None else {Path(file).name: uploaded(file)}
    ways = ways_of(opened, scene, full, asked["ways"] or [], policies)
    against = one_of("dB to the", asked["against"], TRUTHS)
    total = len(ways) + 3  # with what is counted, and what decibels are to
    drawing = compared(scene, full, ways, against, studio.turns, stop)
    for done, (gauge, found) in enumerate(drawing, 1):
        status = message("drawing from the same noise", share=done / total)
        yield Drawn(status, cards(found, gauge.against))
    said = (
        "drawn from the same noise; seconds are those of one call each, decibels those of this "
        f"picture to the {gauge.against}"
    )
    pictures = {one.name: enlarged(one.images[0], SIDE) for one in found}
    yield Drawn(message(said), cards(found, gauge.against), pictures)


def _searched(search: Search) -> Iterator[Found]:
    """See `Desk.search`.

    Raises:
        ValueError: another search runs.
    """
    search.begin()
    shown: Sequence[object] = ()
    while not search.over.wait(GLANCE):
        search.stop.look()
        now = search.doing, round(search.done), len(search.points)
        if now != shown:
            grown = not shown or now[2] != shown[2]
            yield Found(_status(search), _plot(search) if grown else None)
            shown = now
    if search.policy is None:
        why = "stopped; nothing was kept" if search.stopped else search.failure
        yield Found(message(why, wrong=not search.stopped), _plot(search))
        return
    lines = code(search.question, search.policy, FILE)
    told = message("found; seconds are those of one call each")
    yield Found(told, _plot(search), _download(search) + table(summary(search)), lines)


def _status(search: Search) -> str:
    if not search.total:
        return message(search.doing)
    told = f"{search.doing} ({search.done:.0f} of about {search.total:.0f} full runs)"
    return message(told, share=search.done / search.total)


def _plot(search: Search) -> str:
    return plot(list(search.points), search.against) if search.points else ""


def _download(search: Search) -> str:
    """The link to the file, which has the file in it."""
    assert search.policy is not None
    text = base64.b64encode(search.policy.dumps().encode()).decode()
    return (
        f'<p><a class="fr-download" id="download" download="{FILE}" '
        f'href="data:application/json;base64,{text}">Download {FILE}</a></p>'
    )
