"""The tab that draws two to four ways side by side."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.tabs import Tab, cancels, guidance_field, refusals
from frdiff.app.wording import TRUTHS, message

if TYPE_CHECKING:
    from frdiff.app.studio import Opened, Studio
    from frdiff.app.turns import Lease

__all__ = ["build"]

WORK = "compare"
USERS = 16  # that wait for a turn; more wait in gradio's queue


def build(model: gr.Dropdown, studio: "Future[Studio]") -> Tab:
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

    def run(request: gr.Request, *fields: Any) -> Iterator[tuple[Any, ...]]:
        keep = gr.skip()
        yield message("waiting for a turn"), "", gr.update(visible=False), keep, keep, keep, keep
        with refusals() as refused:
            now = studio.result()
            with now.begun(str(request.session_hash), WORK) as stop:
                yield from _drawn(now, stop, fields)
        if refused:
            yield refused[0], keep, keep, keep, keep, keep, keep

    go.click(
        run,
        [model, prompt, seed, steps, guidance, solver, against, ways, upload],
        [status, cards, closer, drawn, left, right, slider],
        concurrency_limit=USERS,
        show_progress="hidden",
    )

    cancels(cancel, status, studio, WORK)

    def look(left: str, right: str, drawn: dict[str, Any]) -> Any:
        return (drawn[left], drawn[right]) if left in drawn and right in drawn else None

    for choice in (left, right):
        choice.input(look, [left, right, drawn], slider, show_progress="hidden")

    def suit(opened: "Opened") -> list[Any]:
        from frdiff.app.comparing import FEWER, UNTUNED

        choices = [*opened.policies, FEWER, *UNTUNED]
        first = [*opened.policies[1:2], FEWER]
        return [
            gr.update(
                value=opened.prompts[0] if opened.prompts else "",
                label="prompt" if opened.takes_prompts else "prompt (this model takes none)",
                interactive=opened.takes_prompts,
            ),
            gr.update(value=opened.steps),
            guidance_field(opened),
            gr.update(choices=opened.solvers, value=opened.solvers[0]),
            gr.update(choices=choices, value=first),
        ]

    return Tab([prompt, steps, guidance, solver, ways], suit)


def _drawn(studio: "Studio", stop: "Lease", fields: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """What the tab shows, after each picture.

    Raises:
        ValueError: a field that is refused; nothing was drawn.
        Stopped: somebody asked to.
    """
    from frdiff.app.asked import MAX_STEPS, one_of, prompts_of, uploaded, whole
    from frdiff.app.comparing import compared, ways_of
    from frdiff.app.looks import cards, enlarged

    name, prompt, seed, steps, guidance, solver, against, chosen, file = fields
    opened = studio.opened(name)
    prompts = prompts_of(prompt, opened.takes_prompts, most=1)
    scene = opened.scene(prompts, seed, opened.scale(guidance))
    full = opened.full(whole("steps", steps, 1, MAX_STEPS), solver)
    policies = {} if file is None else {Path(file).name: uploaded(file)}
    ways = ways_of(opened, scene, full, chosen or [], policies)
    one_of("dB to the", against, TRUTHS)
    keep, hidden = gr.skip(), gr.update(visible=False)
    total = len(ways) + 2  # with what decibels are to
    drawing = compared(scene, full, ways, against, studio.turns, stop)
    for done, (gauge, found) in enumerate(drawing, 1):
        status = message("drawing from the same noise", share=done / total)
        yield status, cards(found, gauge.against), hidden, keep, keep, keep, keep
    names = [one.name for one in found]
    pictures = {one.name: enlarged(one.images[0], 512) for one in found}
    said = (
        "drawn from the same noise; seconds are those of one call each, decibels those of this "
        f"picture to the {gauge.against}"
    )
    yield (
        message(said),
        cards(found, gauge.against),
        gr.update(visible=True),
        pictures,
        gr.update(choices=names, value=names[0]),
        gr.update(choices=names, value=names[1]),
        (pictures[names[0]], pictures[names[1]]),
    )
