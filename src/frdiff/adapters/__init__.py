"""Where to reuse: targets found by a denoiser's structure, and adapters where that misleads."""

from frdiff.adapters.registry import find_targets, grouped, register_adapter
from frdiff.adapters.target import Features, Target, attention, branch, output, whole
from frdiff.adapters.watch import watched

__all__ = [
    "Features",
    "Target",
    "attention",
    "branch",
    "find_targets",
    "grouped",
    "output",
    "register_adapter",
    "watched",
    "whole",
]
