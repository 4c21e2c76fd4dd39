"""The tab that asks a few questions and searches for a policy."""

import base64
from collections.abc import Iterator
from concurrent.futures import Future
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.tabs import Tab, cancels, guidance_field, refusals
from frdiff.app.wording import GOALS, SECONDS, message, table

if TYPE_CHECKING:
    from frdiff.app.choosing import Search
    from frdiff.app.studio import Opened, Studio
    from frdiff.app.turns import Lease

__all__ = ["build"]

WORK = "choose"
GLANCE = 0.5  # seconds between looks at a search
PATIENCE = 60.0  # seconds that one goes on with nobody there
FILE = "policy.json"
NAMES = ("steps", "solver", "guidance", "goal", "amount", "samples", "evaluations", "prompts")


def build(model: gr.Dropdown, studio: "Future[Studio]") -> Tab:
    """The tab."""
    with gr.Row():
        goal = gr.Radio(
            list(GOALS), value=SECONDS, label="what matters", elem_id="goal", min_width=240
        )
        amount = gr.Number(
            2, label="how much", info=GOALS[SECONDS], elem_id="amount", scale=2, min_width=240
        )
    with gr.Row():
        steps = gr.Number(25, label="steps of the full run", elem_id="choose-steps", min_width=120)
        solver = gr.Dropdown([], label="solver", elem_id="choose-solver", min_width=150)
        guidance = gr.Textbox(
            label="guidance",
            info="a number, or a range such as 2-8",
            elem_id="choose-guidance",
            min_width=150,
        )
    with gr.Accordion("what to search on", open=False, elem_id="more"), gr.Row():
        samples = gr.Number(
            16, label="pictures to search on", info="fewer: faster, less sure", elem_id="samples"
        )
        evaluations = gr.Textbox(
            label="policies to measure",
            info="empty: as many as 4 full runs take",
            elem_id="evaluations",
        )
        prompts = gr.Textbox(
            label="prompts, one a line",
            info="empty: what a shipped model has learnt",
            lines=2,
            max_lines=6,
            elem_id="choose-prompts",
        )
    with gr.Row():
        go = gr.Button("Search", variant="primary", elem_id="choose")
        cancel = gr.Button("Cancel", elem_id="choose-cancel")
    status = gr.HTML(elem_id="choose-status")
    front = gr.HTML(elem_id="front")
    found = gr.HTML(elem_id="found")
    lines = gr.Code(
        language="python",
        label="the lines of code",
        visible=False,
        interactive=False,
        elem_id="lines",
    )

    def ask(goal: str) -> Any:
        return gr.update(info=GOALS.get(goal, ""), value={"dB": 40, "bytes": 1}.get(goal, 2))

    goal.input(ask, goal, amount, show_progress="hidden")

    def run(request: gr.Request, name: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield message("waiting for the model"), "", "", gr.update(visible=False)
        with refusals() as refused:
            answers = dict(zip(NAMES, values, strict=True))
            now = studio.result()
            # A tab that was closed looks no more: nobody is there to see what is found.
            with now.begun(str(request.session_hash), WORK, PATIENCE) as stop:
                yield from _searched(now, stop, name, answers)
        if refused:
            yield refused[0], gr.skip(), gr.skip(), gr.skip()

    # Whose search does not begin is told so at once, and waits in no queue.
    go.click(
        run,
        [model, steps, solver, guidance, goal, amount, samples, evaluations, prompts],
        [status, front, found, lines],
        concurrency_limit=None,
        show_progress="hidden",
    )

    cancels(cancel, status, studio, WORK)

    def suit(opened: "Opened") -> list[Any]:
        return [
            gr.update(value=opened.steps),
            gr.update(choices=opened.solvers, value=opened.solvers[0]),
            guidance_field(opened),
        ]

    return Tab([steps, solver, guidance], suit)


def _searched(
    studio: "Studio", stop: "Lease", name: str, answers: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """What the tab shows while a search runs and when it has ended.

    Raises:
        ValueError: a field that is refused, or another search runs.
    """
    from frdiff.app.choosing import Search, asked

    search = Search(studio, asked(studio.opened(name), answers), stop)
    search.begin()
    shown: Any = None
    keep = gr.skip()
    while not search.over.wait(GLANCE):
        stop.look()
        now = search.doing, search.done, len(search.points)
        if now != shown:
            grown = shown is None or now[2] != shown[2]
            yield _status(search), _plot(search) if grown else keep, keep, keep
            shown = now
    if search.policy is None:
        why = "stopped; nothing was kept" if search.stopped else search.failure
        yield message(why, wrong=not search.stopped), _plot(search), keep, keep
        return
    yield (message("found; seconds are those of one call each"), _plot(search), *_result(search))


def _status(search: "Search") -> str:
    told = (
        f"{search.doing} ({search.done} of about {search.total})" if search.total else search.doing
    )
    return message(told, share=search.done / search.total if search.total else None)


def _plot(search: "Search") -> str:
    from frdiff.app.front import plot

    return plot(list(search.points), search.against) if search.points else ""


def _result(search: "Search") -> tuple[Any, Any]:
    """The link to the file, what was found in words, and the lines of code."""
    from frdiff.app.choosing import code, summary

    assert search.policy is not None
    text = base64.b64encode(search.policy.dumps().encode()).decode()
    link = (
        f'<p><a class="fr-download" id="download" download="{escape(FILE)}" '
        f'href="data:application/json;base64,{text}">Download {escape(FILE)}</a></p>'
    )
    lines = code(search.question, search.policy, FILE)
    return link + table(summary(search)), gr.update(value=lines, visible=True)
