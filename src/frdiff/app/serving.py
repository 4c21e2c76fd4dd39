"""The server of the page."""

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Before gradio is imported, which asks for them then.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
from starlette.middleware import Middleware

from frdiff.app.page import build
from frdiff.app.wording import STYLE

if TYPE_CHECKING:
    from frdiff.app.desk import Desk

__all__ = ["served"]

# Nothing is ever fetched from elsewhere: the page works offline, and tells nobody of its use.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
MOST_UPLOADED = "4mb"  # as much as a policy file may have
SESSIONS = 100  # whose last pictures are kept
THEME = gr.themes.Default(
    primary_hue="blue",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)


class OnlyFromHere:
    """Middleware that tells browsers to load nothing from other addresses."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(
        self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]
    ) -> None:
        async def told(event: Any) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [
                    *event.get("headers", []),
                    (b"content-security-policy", POLICY.encode()),
                ]
            await send(event)

        await self.app(scope, receive, told)


@contextmanager
def served(
    model: str, desk: "Future[Desk]", port: int | None = None, browser: bool = False
) -> Iterator[str]:
    """The address of the app, closed at the end.

    Args:
        model: that the page opens with.
        desk: what answers, as soon as it is there; the page waits for it.
        port: to serve on; None for a free one from 7860 on.
        browser: open a browser on it.

    Raises:
        OSError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="frdiff-app-") as folder:
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(model, desk)
        try:
            _, address, _ = page.queue(max_size=64).launch(
                server_port=port,
                inbrowser=browser,
                prevent_thread_lock=True,
                share=False,
                quiet=True,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                max_file_size=MOST_UPLOADED,
                state_session_capacity=SESSIONS,
                footer_links=[],
                theme=THEME,
                css=STYLE,
                app_kwargs={"middleware": [Middleware(OnlyFromHere)]},
            )
            yield address
        finally:
            page.close()
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before
