"""Where to reuse: one short file per model family, each answering only which modules."""

from frdiff.adapters import dit, unet
from frdiff.adapters.registry import find_targets, grouped, known_models
from frdiff.adapters.target import Target
from frdiff.adapters.watch import watched

__all__ = ["Target", "dit", "find_targets", "grouped", "known_models", "unet", "watched"]
