"""The tab that shows a policy step by step."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.answers import Fields
from frdiff.app.tabs import Tab, unanswered

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["build"]


def build(model: gr.Dropdown, desk: "Future[Desk]") -> Tab:
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
        with unanswered() as said:
            shown = desk.result().inspect(model, name, steps, guidance, file)
        return said[0] if said else shown

    inputs = [model, name, steps, guidance, upload]
    go.click(run, inputs, shown, concurrency_limit=4)

    def suit(fields: Fields) -> list[Any]:
        return [gr.update(choices=fields.policies, value=next(iter(fields.policies), None))]

    return Tab([name], suit)
