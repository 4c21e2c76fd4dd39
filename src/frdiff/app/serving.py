"""The server: up at once, while what draws is imported and warmed up behind it."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before gradio is imported, which asks for them then.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
from starlette.middleware import Middleware

from frdiff.app.page import build
from frdiff.app.wording import STYLE

if TYPE_CHECKING:
    from frdiff.app.studio import Studio

__all__ = ["check_model", "launch", "served"]

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


def check_model(model: str) -> None:
    """Refuse, before anything heavy is imported, what is neither a shipped model nor a folder.

    Raises:
        ValueError: it is neither.
    """
    home = Path(__file__).parent.parent / "models"
    shipped = sorted(path.parent.name for path in home.glob("*/model_index.json"))
    if model not in shipped and not (Path(model) / "model_index.json").is_file():
        raise ValueError(
            f"{model!r} is none of the shipped models ({', '.join(shipped)}) and no folder of a "
            "diffusers pipeline"
        )


@contextmanager
def served(
    model: str, device: str = "cpu", port: int | None = None, browser: bool = False
) -> Iterator[tuple[str, "Future[Studio]"]]:
    """The address of the app, and what draws in it as soon as it is there; closed at the end.

    Args:
        model: a shipped model, or a folder of a diffusers pipeline.
        port: to serve on; None for a free one from 7860 on.
        browser: open a browser on it.

    Raises:
        ValueError: no such model.
        OSError: the port is taken.
    """
    check_model(model)
    studio: Future[Studio] = Future()
    with tempfile.TemporaryDirectory(prefix="frdiff-app-") as folder:
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(model, studio)
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
            threading.Thread(target=_open, args=(model, device, studio), daemon=True).start()
            yield address, studio
        finally:
            page.close()
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def _open(model: str, device: str, studio: "Future[Studio]") -> None:
    """Import what draws, open the model and warm it up."""
    try:
        from frdiff.app.studio import Studio

        made = Studio(model, device)
        made.opened(model)
        studio.set_result(made)
    except BaseException as error:
        studio.set_exception(error)


def launch(
    model: str, device: str, port: int | None, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve the app until it is interrupted.

    Args:
        say: called with the address, and again when the model is warm.

    Raises:
        ValueError: no such model or device.
        OSError: the port is taken.
    """
    # So that temporary files go when the process is told to end, as they do on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with served(model, device, port, browser) as (address, studio):
        say(f"{address} (Ctrl-C ends it)")
        studio.result()
        say(f"{model} is ready")
        threading.Event().wait()
