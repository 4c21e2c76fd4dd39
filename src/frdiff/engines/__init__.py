"""Engines: what does many jobs of one kind, in this process, in several, or on a Ray cluster.

An engine is a function from jobs to their numbered results, in whatever order these are done. Who
uses one knows no more of it, and decides and names files by numbers alone; so what comes of the
results is the same on one worker or many.
"""

from frdiff.engines.engine import (
    ENGINES,
    HERE,
    Engine,
    Place,
    WorkError,
    engine_of,
    in_order,
    local_engine,
)

__all__ = [
    "ENGINES",
    "HERE",
    "Engine",
    "Place",
    "WorkError",
    "engine_of",
    "in_order",
    "local_engine",
]
