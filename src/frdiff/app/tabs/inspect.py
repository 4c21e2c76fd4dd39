"""The tab that shows a policy step by step."""

from concurrent.futures import Future
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.tabs import Tab, refusals

if TYPE_CHECKING:
    from frdiff.app.studio import Opened, Studio

__all__ = ["build"]


def build(model: gr.Dropdown, studio: "Future[Studio]") -> Tab:
    """The tab."""
    with gr.Row():
        name = gr.Dropdown(
            [], label="a policy that ships", elem_id="inspect-policy", scale=2, min_width=200
        )
        steps = gr.Textbox(
            label="steps", info="empty: its own", elem_id="inspect-steps", min_width=110
        )
        guidance = gr.Textbox(
            label="guidance",
            info="of one for a range",
            elem_id="inspect-guidance",
            min_width=110,
        )
        upload = gr.File(
            label="or a policy file of yours",
            file_types=[".json"],
            type="filepath",
            height=150,
            min_width=240,
            elem_id="inspect-upload",
        )
    go = gr.Button("Inspect", variant="primary", elem_id="inspect")
    shown = gr.HTML(elem_id="inspected")

    def run(model: str, name: str, steps: str, guidance: str, file: str | None) -> str:
        shown = ""
        with refusals() as refused:
            shown = _inspected(studio.result(), model, name, steps, guidance, file)
        return refused[0] if refused else shown

    inputs = [model, name, steps, guidance, upload]
    go.click(run, inputs, shown, concurrency_limit=4)

    def suit(opened: "Opened") -> list[Any]:
        return [gr.update(choices=opened.policies, value=next(iter(opened.policies), None))]

    return Tab([name], suit)


def _inspected(
    studio: "Studio",
    model: str,
    name: str,
    steps: str,
    guidance: str,
    file: str | None,
) -> str:
    """See `frdiff.app.inspecting.inspected`.

    Raises:
        ValueError: a field that is refused, or a file that is no policy.
    """
    from frdiff.app.asked import empty, uploaded, whole
    from frdiff.app.inspecting import inspected

    opened = studio.opened(model)
    policy = opened.policy(name) if file is None else uploaded(file)
    count = None if empty(steps) else whole("steps", steps, 1, 10_000)
    title = f"<h2>{escape(Path(file).name if file else name)}</h2>"
    shown = inspected(opened, policy, count, opened.scale(guidance), studio.turns)
    return title + shown
