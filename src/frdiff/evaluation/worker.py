"""What a worker of the bench does: methods drawn in turns, or one batch of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from diffusers import DiffusionPipeline

from frdiff.evaluation.embedder import ShippedEmbedder
from frdiff.evaluation.inception import Inception
from frdiff.evaluation.measure import Drawing, Setup, draw
from frdiff.evaluation.methods import Method

__all__ = ["Job", "Pictures", "Turns", "Worker"]


@dataclass(frozen=True)
class Turns:
    """All pictures of the setup, by methods that are drawn in turns.

    Attributes:
        methods: of one family.
        timed: in turns with the full run, too.
    """

    methods: tuple[Method, ...]
    timed: bool = True


@dataclass(frozen=True)
class Pictures:
    """One batch of pictures by one method.

    Attributes:
        seed: of the first.
        prompts: one each.
        seen: features are wanted in their place.
    """

    method: Method
    seed: int
    prompts: tuple[str, ...]
    seen: bool = False


Job = Turns | Pictures


@dataclass(frozen=True)
class Worker:
    """Does jobs of the bench, whatever process it is in.

    Attributes:
        pipe: the pipeline.
        setup: what all methods have in common.
        networks: that look at pictures, by name.
    """

    pipe: DiffusionPipeline
    setup: Setup
    networks: Mapping[str, ShippedEmbedder | Inception] = field(default_factory=dict)

    def __call__(self, job: Job) -> list[Drawing | str] | dict[str, np.ndarray]:
        """What a job asks for.

        Of `Turns` a drawing per method, or why a peer made none; of `Pictures` the features of
        every network, or under "pictures" themselves.

        Raises:
            Exception: whatever a method raises that is no peer's.
        """
        if isinstance(job, Turns):
            return self._in_turns(job.methods, self.setup.timed if job.timed else 0)
        with job.method.attached(self.pipe, self.setup.guidance) as (source, _):
            pictures = self.setup.draw(source, job.prompts, job.method.steps, job.seed)
        if not job.seen:
            return {"pictures": pictures}
        return {name: network.features(pictures) for name, network in self.networks.items()}

    def _in_turns(self, methods: Sequence[Method], timed: int) -> list[Drawing | str]:
        """Whatever foreign code raises must not cost the hours of the others."""
        try:
            return [*draw(self.pipe, methods, replace(self.setup, timed=timed))]
        except Exception as error:
            if methods[0].peer is None:
                raise
            if len(methods) == 1:
                return [f"failed: {type(error).__name__}: {error}"]
            return [found for one in methods for found in self._in_turns([one], timed)]
