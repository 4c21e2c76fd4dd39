"""Pictures of many prompts, one file each, on one worker or many, with a manifest to go on from."""

from frdiff.pictures.drawing import Report, draw_all
from frdiff.pictures.manifest import Entry, Manifest, read_prompts
from frdiff.pictures.painter import Painter

__all__ = ["Entry", "Manifest", "Painter", "Report", "draw_all", "read_prompts"]
