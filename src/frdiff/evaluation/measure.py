"""Methods on one model: what they draw, what they cost, and how long they take.

Each batch of pictures is drawn once. The first one is also counted: MACs by the operations that
run, whoever's method it is, and bytes of the tensors alive at a time. Some of the others are timed,
in turns with the full run on the same noise.
"""

import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from frdiff.cost import CPU_ATTENTION
from frdiff.evaluation.methods import FULL, REFERENCE, Method
from frdiff.network.denoisers import find_denoisers
from frdiff.run.applying import Stats
from frdiff.sampling import sample
from frdiff.search.subject import Batch, PipelineSubject

__all__ = ["Cost", "Drawing", "Setup", "draw"]


@dataclass(frozen=True)
class Setup:
    """What all methods of a comparison have in common.

    Attributes:
        prompts: one picture each; picture i is drawn from `seed + i`.
        batch: pictures drawn at a time.
        guidance: guidance scale; None for the pipeline's default.
        timed: batches timed in turns with the full run, at most those after the first.
        full: what speed-ups are ratios to.
        reference: the converged solution.
        inputs: further arguments of the pipeline.
        calibration: samples for methods to calibrate on, from other noises.
    """

    prompts: tuple[str, ...]
    seed: int = 0
    batch: int = 8
    guidance: float | None = None
    timed: int = 5
    full: Method = FULL
    reference: Method = REFERENCE
    inputs: Mapping[str, Any] = field(default_factory=dict)
    calibration: tuple[Batch, ...] = ()

    def batches(self) -> list[tuple[int, Sequence[str]]]:
        """The first seed and the prompts of each batch."""
        starts = range(0, len(self.prompts), self.batch)
        return [(self.seed + i, self.prompts[i : i + self.batch]) for i in starts]

    def draw(self, source: Any, prompts: Sequence[str], steps: int, seed: int) -> np.ndarray:
        """A batch of pictures from what a method gives to sample from."""
        return sample(
            source, prompts, steps=steps, seed=seed, guidance=self.guidance, inputs=self.inputs
        )


@dataclass(frozen=True)
class Cost:
    """What drawing one batch costs.

    Attributes:
        macs: of the denoisers, multiply-accumulates.
        peak_bytes: most bytes of tensors alive at a time beyond those alive before.
    """

    macs: int
    peak_bytes: int


@dataclass(frozen=True)
class Drawing:
    """What a method drew and what it took.

    Attributes:
        images: (N, H, W, C) in [0, 1].
        cost: of one batch.
        stats: of a policy's run on one batch; None for other methods.
        times: that the scheduler set; as many as the untouched pipeline evaluates its denoiser at.
        seconds: of each timed batch, whole pipeline calls.
        seconds_full: of the full run on the same batches, a few turns before or after.
    """

    images: np.ndarray
    cost: Cost
    stats: Stats | None
    times: int
    seconds: tuple[float, ...]
    seconds_full: tuple[float, ...]


def draw(pipe: DiffusionPipeline, methods: Sequence[Method], setup: Setup) -> list[Drawing]:
    """All pictures of a setup by each method; methods drawn together share their full runs."""
    subject = PipelineSubject(pipe, setup.guidance, latents=True, inputs=setup.inputs)
    methods = [method.calibrated(subject, setup.calibration) for method in methods]
    images: list[list[np.ndarray]] = [[] for _ in methods]
    seconds: list[list[float]] = [[] for _ in methods]
    costs: list[tuple[Cost, Stats | None, int]] = []
    full: list[float] = []
    for number, (seed, prompts) in enumerate(setup.batches()):
        in_turns = 1 <= number <= setup.timed
        turns = list(enumerate(methods)) + ([(None, setup.full)] if in_turns else [])
        # Everyone goes first once in a while: whoever follows finds another machine.
        first = number % len(turns)
        for index, method in turns[first:] + turns[:first]:
            with method.attached(pipe, setup.guidance) as (source, run), ExitStack() as stack:
                counting = None if number else stack.enter_context(_Counting(pipe))
                began = time.perf_counter()
                drawn = setup.draw(source, prompts, method.steps, seed)
                took = time.perf_counter() - began
                if counting is not None:
                    times = len(pipe.scheduler.timesteps)
                    costs.append((counting.cost(), run.stats if run else None, times))
            if index is None:
                full.append(took)
                continue
            images[index].append(drawn)
            if in_turns:
                seconds[index].append(took)
    return [
        Drawing(np.concatenate(drawn), *cost, tuple(own), tuple(full))
        for drawn, cost, own in zip(images, costs, seconds, strict=True)
    ]


class _Counting:
    """Counts the operations of the denoisers of a pipeline, or of copies of it, and live bytes."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.names = {type(denoiser).__name__ for denoiser in find_denoisers(pipe).values()}
        self.flops = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
        self.memory = _LiveBytes()

    def __enter__(self) -> "_Counting":
        self._stack = ExitStack()
        self._stack.enter_context(self.flops)
        self._stack.enter_context(self.memory)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def cost(self) -> Cost:
        counts = self.flops.get_flop_counts()
        flops = sum(sum(counts.get(name, {}).values()) for name in self.names)
        return Cost(flops // 2, self.memory.peak)


class _LiveBytes(TorchDispatchMode):
    """Bytes of the tensors made within, and the most of them alive at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in tree_iter((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._known.setdefault(tensor.untyped_storage(), True)  # made before
        result = function(*args, **kwargs)
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known[storage] = True
                    self._add(storage.nbytes())
                    weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, size: int) -> None:
        self.live += size
        self.peak = max(self.peak, self.live)
