"""Beyond diffusion: features reused from frame to frame, in decoders and generators.

A step becomes a frame; bank, targets and policies are those of a sampling loop.
"""

from frdiff.frames.comparing import ClipOutcome, animate, compare, walk
from frdiff.frames.drawing import Drawing, draw
from frdiff.frames.generator import StyleGenerator, load_generator
from frdiff.frames.regions import Regions, regions
from frdiff.frames.streaming import Stream, streaming
from frdiff.frames.tuning import tune
from frdiff.policy import FramePolicy

__all__ = [
    "ClipOutcome",
    "Drawing",
    "FramePolicy",
    "Regions",
    "Stream",
    "StyleGenerator",
    "animate",
    "compare",
    "draw",
    "load_generator",
    "regions",
    "streaming",
    "tune",
    "walk",
]
