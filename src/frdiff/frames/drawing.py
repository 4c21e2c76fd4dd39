"""Clips: one network called once a frame, with features reused from frame to frame."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from frdiff.network.calls import tensor_of
from frdiff.policy import FramePolicy, Policy, TablePolicy
from frdiff.run.applying import Run, Stats, apply

__all__ = ["Drawing", "draw", "in_full"]


class FrameClock:
    """Tells a run its steps, as a scheduler does where there is one: one a frame."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.timesteps = torch.arange(0)
        self.num_inference_steps: int | None = None

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Begin a clip of so many frames."""
        self.timesteps = torch.arange(num_inference_steps)
        self.num_inference_steps = num_inference_steps

    def step(self, model_output: Tensor, timestep: int) -> tuple[Tensor]:
        """The frame that was made, as it is."""
        return (model_output,)


class Drawing:
    """The frames of a clip, one by one; `draw` makes one.

    Attributes:
        stats: figures of the clip so far, see `frdiff.Stats`; None before the first frame. A frame
            is a step.
    """

    def __init__(self, frames: Callable[["Drawing"], Iterator[Tensor]]) -> None:
        self.run: Run | None = None
        self._frames = frames(self)

    @property
    def stats(self) -> Stats | None:
        """Figures of the clip so far; None before the first frame."""
        return None if self.run is None else self.run.stats

    def __iter__(self) -> Iterator[Tensor]:
        return self._frames


def draw(
    network: nn.Module,
    inputs: Sequence[Tensor] | Tensor,
    policy: Policy,
    make: Callable[[Tensor], Any] | None = None,
    *,
    max_bytes: int | None = None,
) -> Drawing:
    """The frames that `make` gives of `inputs`, in their order, with a policy on the network.

    The network is left as it was after the last frame, or where the iteration is given up.

        vae = pipe.vae
        clip = frdiff.frames.draw(
            vae.decoder, latents, FramePolicy(2), lambda z: vae.decode(z).sample
        )
        for frame in clip: ...

    Args:
        network: whose features are reused, such as a VAE's decoder or a GAN's generator.
        inputs: one per frame, each with its batch dimension; of a tensor (N, ...), N of a batch
            of one.
        policy: a `FramePolicy`, or one for steps: these take frames as they come, and extrapolate.
        make: what makes a frame (a tensor, or an output whose first entry is one) of an input; it
            calls the network once. None calls the network itself.
        max_bytes: that the bank may take, see `frdiff.apply`.

    Raises:
        ValueError: no inputs, or ones of different shapes or of no shape.
    """
    rows = [row[None] for row in inputs] if isinstance(inputs, Tensor) else list(inputs)
    shapes = {tuple(row.shape) for row in rows}
    if len(shapes) != 1 or () in shapes:
        raise ValueError(
            "a clip needs inputs of one shape, each with a batch dimension, got "
            f"{len(rows)} of the shapes {sorted(shapes)}; draw those of another shape by themselves"
        )
    order, table = _laid_out(policy, rows)

    def frames(drawing: Drawing) -> Iterator[Tensor]:
        clock, done, following = FrameClock(), {}, 0
        drawing.run = apply(network, table, scheduler=clock, max_bytes=max_bytes)
        with torch.no_grad(), drawing.run:
            clock.set_timesteps(len(rows))
            for number, frame in enumerate(order):
                picture = tensor_of((make or network)(rows[frame]))
                clock.step(picture, number)
                done[frame] = picture
                while following in done:
                    yield done.pop(following)
                    following += 1

    return Drawing(frames)


def in_full(
    network: nn.Module, inputs: Tensor, make: Callable[[Tensor], Any] | None = None
) -> Iterator[Tensor]:
    """The frames of `inputs` (N, ...) without a policy, see `draw`."""
    for row in inputs:
        with torch.no_grad():
            yield tensor_of((make or network)(row[None]))


def _laid_out(policy: Policy, inputs: Sequence[Tensor]) -> tuple[list[int], Policy]:
    """The frames in the order of making, and the policy for their steps."""
    if not isinstance(policy, FramePolicy):
        return list(range(len(inputs))), policy
    moves = [float((new - old).norm()) for old, new in pairwise(inputs)]
    turns = policy.turns(moves)
    steps = [turn.step for turn in turns]
    keyframes = [not turn.sources for turn in turns]
    table = TablePolicy(
        len(steps),
        [[0] if keyframe else [] for keyframe in keyframes],
        mixing_weights=[step.mixing_weight for step in steps],
        score_weights=[step.score_weights for step in steps],
        forecast_weights=[step.forecast_weights for step in steps],
        forecast=0,
        targets=policy.targets,
        storage=policy.storage,
    )
    return [turn.frame for turn in turns], table
