"""Pictures as they go into a page: figures as SVG, photographs as small WebP, both as data URLs."""

import base64
import io
import re
from collections import Counter
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["figure_url", "picture_url"]

QUALITY = 60


def figure_url(figure: Figure) -> str:
    """A figure as an SVG, the same for the same figure."""
    text = io.StringIO()
    # Letters as text, two decimals of a point, and every style once: a tenth of the bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "frdiff"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    short = re.sub(r"(\d\.\d\d)\d+", r"\1", text.getvalue())
    short = re.sub(r"\s*\n\s*", " ", short[short.index("<svg") :])
    return "data:image/svg+xml;base64," + base64.b64encode(_classed(short).encode()).decode()


def _classed(svg: str) -> str:
    """The same, with styles that come again as classes."""
    counts = Counter(re.findall(r' style="([^"]*)"', svg))
    names = {
        style: f"s{number}" for number, (style, times) in enumerate(counts.items()) if times > 1
    }
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())

    def classed(found: re.Match[str]) -> str:
        return f' class="{names[found[1]]}"' if found[1] in names else found[0]

    svg = re.sub(r' style="([^"]*)"', classed, svg)
    return svg.replace("</style>", f"{rules}</style>", 1)


def picture_url(path: Path, width: int, height: int) -> str:
    """The picture in a file as a WebP, no larger than `width` by `height` pixels.

    Raises:
        ValueError: the file holds no picture, or a huge one.
    """
    data = io.BytesIO()
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((width, height), Image.Resampling.LANCZOS)
        picture.save(data, "WEBP", quality=QUALITY, method=6)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from error
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
