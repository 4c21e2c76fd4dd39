"""The tab that asks a few questions and searches for a policy."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.answers import Fields
from frdiff.app.tabs import Tab, cancels, guidance_field, or_as_it_is, unanswered
from frdiff.app.wording import GOALS, SEARCH, SECONDS, message

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["build"]

NAMES = ("steps", "solver", "guidance", "goal", "amount", "samples", "evaluations", "prompts")


def build(model: gr.Dropdown, desk: "Future[Desk]") -> Tab:
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
        with unanswered() as said:
            answers = dict(zip(NAMES, values, strict=True))
            for one in desk.result().search(str(request.session_hash), name, answers):
                code = gr.skip() if one.code is None else gr.update(value=one.code, visible=True)
                yield one.status, or_as_it_is(one.plot), or_as_it_is(one.found), code
        if said:
            yield said[0], gr.skip(), gr.skip(), gr.skip()

    # Whose search does not begin is told so at once, and waits in no queue.
    go.click(
        run,
        [model, steps, solver, guidance, goal, amount, samples, evaluations, prompts],
        [status, front, found, lines],
        concurrency_limit=None,
        show_progress="hidden",
    )

    cancels(cancel, status, desk, SEARCH)

    def suit(fields: Fields) -> list[Any]:
        return [
            gr.update(value=fields.steps),
            gr.update(choices=fields.solvers, value=fields.solvers[0]),
            guidance_field(fields),
        ]

    return Tab([steps, solver, guidance], suit)
