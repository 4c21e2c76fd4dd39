"""Engines: what does many jobs of one kind, in this process, in several, or on a Ray cluster.

An engine is a function from jobs to their results, in the order of the jobs. Who uses one knows no
more of it; so what is decided and written from the results is the same on one worker or many.
"""

from frdiff.engines.engine import ENGINES, HERE, Engine, Place, WorkError, engine_of

__all__ = ["ENGINES", "HERE", "Engine", "Place", "WorkError", "engine_of"]
