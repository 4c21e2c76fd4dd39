"""Pictures with their figures, as HTML. Everything is escaped."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from frdiff.app.gauge import Measured
from frdiff.budget import in_mib
from frdiff.compare import picture

__all__ = ["cards", "data_uri", "decibels", "enlarged", "figures", "size"]


def data_uri(image: Image.Image) -> str:
    """The address of a picture that has the picture in it: no file is left behind."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def enlarged(image: np.ndarray, least: int = 384) -> Image.Image:
    """The picture of values (H, W, C) in [0, 1], at a whole multiple of its size if it is small."""
    drawn = picture(image)
    factor = math.ceil(least / max(drawn.size))
    if factor <= 1:
        return drawn
    return drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.BICUBIC)


def decibels(one: Measured, against: str) -> str:
    """How close a way of drawing comes."""
    if one.decibels is None:
        return f"the {against} is not drawn yet"
    if math.isnan(one.decibels):
        return "not a number"
    if math.isinf(one.decibels):
        return f"the same as the {against}" if one.kind != "full" else "what others are compared to"
    return f"{one.decibels:.1f} dB to the {against}"


def size(count: int) -> str:
    """So many bytes as people read them."""
    return in_mib(count) if count >= 2**17 or not count else f"{count / 2**10:.1f} KiB"


def figures(one: Measured, full: Measured) -> list[str]:
    """Seconds, calls, MACs and bytes of a way of drawing, in words."""
    faster = "" if one is full else f", {full.seconds / one.seconds:.2f}x"
    solver = "" if one.setting.scheduler is None else f" of {one.setting.scheduler}"
    if one.run is not None:
        counted = "network calls, MACs and bytes are counted next"
        return [f"{one.seconds:.3g} s{faster}", f"{one.setting.steps} steps{solver}", counted]
    macs = "MACs unknown" if one.macs_share is None else f"{one.macs_share:.2f} of the full MACs"
    return [
        f"{one.seconds:.3g} s{faster}",
        f"{one.setting.steps} steps{solver}, {one.calls} network calls",
        macs,
        f"bank {size(one.bank_bytes)}" if one.bank_bytes else "no bank",
    ]


def cards(found: Sequence[Measured], against: str) -> str:
    """Pictures side by side, the first of each way of drawing, with its figures."""
    full = found[0]
    rows = []
    for one in found:
        lines = [decibels(one, against), *figures(one, full)]
        said = "<br>".join(map(escape, lines))
        notes = "".join(f'<p class="fr-note">{escape(note)}</p>' for note in one.notes)
        rows.append(
            f'<figure><img alt="{escape(one.name)}" src="{data_uri(enlarged(one.images[0]))}">'
            f"<figcaption><b>{escape(one.name)}</b>{said}{notes}</figcaption></figure>"
        )
    return f'<div class="fr-cards">{"".join(rows)}</div>'
