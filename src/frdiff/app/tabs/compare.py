"""The tab that draws two to four ways side by side."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.answers import Drawn, Fields
from frdiff.app.tabs import Tab, cancels, guidance_field, or_as_it_is, unanswered
from frdiff.app.wording import COMPARE, TRUTHS, message

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["build"]

NAMES = ("model", "prompt", "seed", "steps", "guidance", "solver", "against", "ways", "file")
USERS = 16  # that wait for a turn; more wait in gradio's queue


def build(model: gr.Dropdown, desk: "Future[Desk]") -> Tab:
    """The tab."""
    with gr.Row():
        prompt = gr.Textbox(label="prompt", elem_id="prompt", max_lines=2, scale=3)
        seed = gr.Number(0, label="seed", precision=None, elem_id="seed", min_width=90)
    with gr.Row():
        steps = gr.Number(25, label="steps of the full run", elem_id="steps", min_width=110)
        guidance = gr.Textbox(label="guidance", elem_id="guidance", min_width=110)
        solver = gr.Dropdown([], label="solver of the full run", elem_id="solver", min_width=150)
        against = gr.Radio(
            list(TRUTHS), value=TRUTHS[0], label="dB to the", elem_id="against", min_width=220
        )
    with gr.Row():
        ways = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=3,
            label="beside the full run (up to three)",
            elem_id="ways",
            scale=3,
            min_width=260,
        )
        upload = gr.File(
            label="or a policy file of yours",
            file_types=[".json"],
            type="filepath",
            height=150,
            min_width=240,
            elem_id="upload",
        )
    with gr.Row():
        go = gr.Button("Compare", variant="primary", elem_id="compare")
        cancel = gr.Button("Cancel", elem_id="compare-cancel")
    status = gr.HTML(elem_id="compare-status")
    cards = gr.HTML(elem_id="cards")
    drawn = gr.State({}, time_to_live=3600)
    with gr.Column(visible=False) as closer:
        with gr.Row():
            left = gr.Dropdown([], label="left", min_width=140)
            right = gr.Dropdown([], label="right", min_width=140)
        slider = gr.ImageSlider(
            type="pil",
            format="png",
            label="drag the line",
            max_height=460,
            interactive=False,
            elem_id="slider",
        )

    asked = [model, prompt, seed, steps, guidance, solver, against, ways, upload]

    def run(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        keep, hidden = gr.skip(), gr.update(visible=False)
        yield message("waiting for a turn"), "", hidden, keep, keep, keep, keep
        with unanswered() as said:
            fields = dict(zip(NAMES, values, strict=True))
            for one in desk.result().compare(str(request.session_hash), fields):
                yield one.status, or_as_it_is(one.cards), *_closer(one)
        if said:
            yield said[0], keep, keep, keep, keep, keep, keep

    go.click(
        run,
        asked,
        [status, cards, closer, drawn, left, right, slider],
        concurrency_limit=USERS,
        show_progress="hidden",
    )

    cancels(cancel, status, desk, COMPARE)

    def look(left: str, right: str, drawn: dict[str, Any]) -> Any:
        return (drawn[left], drawn[right]) if left in drawn and right in drawn else None

    for choice in (left, right):
        choice.input(look, [left, right, drawn], slider, show_progress="hidden")

    def suit(fields: Fields) -> list[Any]:
        takes = fields.prompt is not None
        return [
            gr.update(
                value=fields.prompt or "",
                label="prompt" if takes else "prompt (this model takes none)",
                interactive=takes,
            ),
            gr.update(value=fields.steps),
            guidance_field(fields),
            gr.update(choices=fields.solvers, value=fields.solvers[0]),
            gr.update(choices=fields.ways, value=fields.chosen),
        ]

    return Tab([prompt, steps, guidance, solver, ways], suit)


def _closer(one: Drawn) -> tuple[Any, ...]:
    """What the part with the slider shows: nothing before the end."""
    keep = gr.skip()
    if one.pictures is None:
        return keep, keep, keep, keep, keep
    names = list(one.pictures)
    return (
        gr.update(visible=True),
        one.pictures,
        gr.update(choices=names, value=names[0]),
        gr.update(choices=names, value=names[1]),
        (one.pictures[names[0]], one.pictures[names[1]]),
    )
