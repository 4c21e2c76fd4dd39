"""Beyond diffusion: features reused from frame to frame, in decoders and generators.

A step becomes a frame; bank, targets and policies are those of a sampling loop.
"""

from frdiff.frames.drawing import Drawing, draw
from frdiff.frames.generator import StyleGenerator
from frdiff.frames.regions import Regions, regions
from frdiff.policy import FramePolicy

__all__ = ["Drawing", "FramePolicy", "Regions", "StyleGenerator", "draw", "regions"]
