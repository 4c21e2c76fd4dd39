"""The page: one model for all tabs, which fills their fields.

Torch and diffusers are imported in the process that draws: the page is up before they are.
"""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import gradio as gr

from frdiff.app.tabs import choose, compare, inspect

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["build"]

INTRO = """# frdiff
Pictures from the same noise with and without reuse; a search for the policy you need; policies
step by step. Everything is drawn on this machine.
"""
SWEEP, KEPT = 600, 3600  # seconds between looks for old uploads and pictures, and their age


def build(model: str, desk: "Future[Desk]") -> gr.Blocks:
    """The page.

    Args:
        model: that it opens with.
        desk: what answers, as soon as it is there.
    """
    with gr.Blocks(analytics_enabled=False, title="frdiff", delete_cache=(SWEEP, KEPT)) as page:
        gr.Markdown(INTRO)
        chosen = gr.Dropdown([model], value=model, label="model", elem_id="model")
        tabs = []
        for name, module in (
            ("Compare", compare),
            ("Choose", choose),
            ("Inspect", inspect),
        ):
            with gr.Tab(name, elem_id=f"tab-{name.lower()}"):
                tabs.append(module.build(chosen, desk))

        def suit(name: str) -> list[Any]:
            fields = desk.result().fields(name)
            updates = [update for tab in tabs for update in tab.suit(fields)]
            return [gr.update(choices=fields.models), *updates]

        parts = [chosen, *(part for tab in tabs for part in tab.parts)]
        page.load(suit, chosen, parts)
        chosen.input(suit, chosen, parts)

        def leave(request: gr.Request) -> None:
            if desk.done():
                desk.result().leave(str(request.session_hash))

        page.unload(leave)
    return page
