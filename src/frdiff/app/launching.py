"""The app from its start to its end; what is slow to import comes after what is quick to refuse."""

import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from frdiff.app.drawing import drawn_elsewhere

__all__ = ["check_model", "launch"]


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


def launch(
    model: str, device: str, port: int | None, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve the app until it is interrupted.

    Args:
        model: a shipped model, or a folder of a diffusers pipeline.
        port: to serve on; None for a free one from 7860 on.
        browser: open a browser on it.
        say: called with the address, and again when the model is warm.

    Raises:
        ValueError: no such model or device, or gradio is not installed.
        OSError: the port is taken.
    """
    if find_spec("gradio") is None:
        raise ValueError("the app needs gradio: pip install 'frdiff[app]'")
    check_model(model)
    # So that temporary files go when the process is told to end, as they do on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with drawn_elsewhere(model, device) as desk:
        from frdiff.app.serving import served  # gradio, while the other process imports torch

        with served(model, desk, port, browser) as address:
            say(f"{address} (Ctrl-C ends it)")
            desk.result()
            say(f"{model} is ready")
            threading.Event().wait()
