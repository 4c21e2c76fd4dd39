"""Exact streaming decode of causal video VAEs: frames as latents come, in constant memory.

A causal decoder needs of the past only the last few input frames of each convolution over time.
They are kept from one chunk of latents to the next, and take the place of the padding that stands
before the first; so the frames are those of decoding all latents at once, however they come.

Where a decoder attends to earlier frames, under a causal mask, their keys and values are kept for
as long as the clip lasts. They grow with every latent: little beside what decoding one takes, but
not constant. Where a VAE carries a cache of its own from latent to latent, as Wan's does, it is
kept from clearing it between chunks, and nothing else is changed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from frdiff.frames.carry import Carry, sample_of
from frdiff.frames.causal import (
    TimeLayers,
    Trace,
    check_padding,
    differing,
    looking_ahead,
    nearly,
    time_layers,
    unaltered,
)
from frdiff.network.wrapped import Wrapped
from frdiff.policy.checks import check_int

__all__ = ["Stream", "streaming"]

# What configurations of VAEs call the number of latent channels.
CHANNELS = ("latent_channels", "z_dim", "z_channels")
TRIED = 3  # latents


@contextmanager
def streaming(vae: ModelMixin) -> Iterator["Stream"]:
    """A stream that decodes latents as they come, exactly; a context manager.

    Entering it decodes a clip of 3 latents of 2x2 at once and one by one, and refuses a VAE that
    makes different frames of them. Leaving it, in any way, leaves the VAE as it was.

    Args:
        vae: a causal video VAE of diffusers, such as `pipe.vae`. Until the stream is left, it
            decodes nothing else, and encodes nothing if it has a cache of its own.

    Raises:
        TypeError: `vae` is no VAE with a decoder.
        ValueError: it is not causal, and which layer is not; or it decodes in tiles or slices.
        RuntimeError: a stream of it is open already.
    """
    channels = _check(vae)
    layers = _examined(vae, channels)
    carry = Carry(vae, layers)
    carry.attach()
    stream = Stream(carry, channels)
    try:
        yield stream
    finally:
        stream.close()


class Stream:
    """Decodes clips chunk by chunk, one clip at a time; `streaming` makes one."""

    def __init__(self, carry: Carry, channels: int) -> None:
        self._carry = carry
        self._channels = channels
        self._open = True
        self._turn: object = None

    def decode(self, chunks: Tensor | Iterable[Tensor], chunk: int = 1) -> Iterator[Tensor]:
        """The frames (B, 3, frames, height, width) of each chunk in turn, without gradients.

        Joined, they are `vae.decode(latents).sample` of the joined latents. Every call begins a new
        clip, and ends the one before it.

        Args:
            chunks: latents (B, C, T, H, W) of 1 frame or more, as `vae.decode` takes them; each is
                taken when its frames are asked for. Or those of a whole clip in one tensor.
            chunk: latent frames at a time of one tensor; more are faster, and take more memory.

        Raises:
            TypeError: a chunk is no tensor.
            ValueError: it is of another shape than that, or than the first.
            RuntimeError: the stream was left, or another clip begun.
        """
        check_int("chunk", chunk, 1, 2**31)
        if not self._open:
            raise RuntimeError("the stream was left; decode within its `with` block")
        if isinstance(chunks, Tensor):
            _check_latents(chunks, self._channels, None)
            chunks = chunks.split(chunk, dim=2)
        self._turn = turn = object()
        return self._frames(chunks, turn)

    def close(self) -> None:
        """Leave the VAE as it was; leaving the `with` block does."""
        self._open, self._turn = False, None
        self._carry.detach()

    def _frames(self, chunks: Iterable[Tensor], turn: object) -> Iterator[Tensor]:
        first = None
        try:
            for latents in chunks:
                if self._turn is not turn:
                    raise RuntimeError("the stream was left, or another clip begun, before its end")
                _check_latents(latents, self._channels, first)
                if first is None:
                    first = latents.shape
                    self._carry.forget()
                yield self._carry.decode(latents)
        finally:
            if self._turn is turn:
                self._carry.forget()


def _check(vae: ModelMixin) -> int:
    """The number of latent channels of a VAE that no stream is open of."""
    kind = type(vae).__name__
    config = getattr(vae, "config", {})
    channels = next((config[name] for name in CHANNELS if name in config), None)
    if channels is None or not isinstance(getattr(vae, "decoder", None), nn.Module):
        raise TypeError(f"vae must be a video VAE of diffusers with a decoder, got {kind}")
    if isinstance(vars(vae).get("decode"), Wrapped):
        raise RuntimeError(f"a stream of this {kind} is open already; leave it first")
    for setting, parts in (("tiling", "tiles of a frame"), ("slicing", "clips of a batch")):
        if getattr(vae, f"use_{setting}", False):
            raise ValueError(
                f"this {kind} decodes {parts} in turn, each from the beginning, so the past of one "
                f"would be taken for that of the next; call vae.disable_{setting}()"
            )
    return channels


def _check_latents(latents: Tensor, channels: int, first: torch.Size | None) -> None:
    if not isinstance(latents, Tensor):
        raise TypeError(f"a chunk must be a tensor of latents, got {type(latents).__name__}")
    shape = tuple(latents.shape)
    if len(shape) != 5 or shape[1] != channels or not all(shape):
        raise ValueError(
            f"latents must be of shape (batch, {channels}, frames, height, width), got {shape}"
        )
    if first is not None and (shape[0], *shape[3:]) != (first[0], *first[3:]):
        raise ValueError(
            f"all chunks of a clip must be of one shape but for their frames; got {shape} after "
            f"{tuple(first)}"
        )


def _examined(vae: ModelMixin, channels: int) -> TimeLayers:
    """The layers of a VAE that depend on time, after a look at whether a stream of it is exact."""
    check_padding(vae.decoder)
    # Latents that grow, so that no statistic over all of them is that over one.
    scale = torch.arange(1.0, TRIED + 1).reshape(TRIED, 1, 1)
    drawn = torch.randn(1, channels, TRIED, 2, 2, generator=torch.Generator().manual_seed(0))
    latents = (drawn * scale).to(next(vae.decoder.parameters()))
    if not getattr(vae, "use_framewise_decoding", False):
        return _tried(vae, latents)
    vae.use_framewise_decoding = False
    try:
        _tried(vae, latents)
    finally:
        vae.use_framewise_decoding = True
    raise ValueError(
        f"this {type(vae).__name__} decodes frames in batches of its own, each nearly from the "
        "beginning; a stream needs none: set vae.use_framewise_decoding = False"
    )


def _at_once(vae: ModelMixin, latents: Tensor) -> tuple[Tensor, Trace]:
    """The frames of a clip, and what the layers made of it."""
    trace = Trace(vae)
    try:
        with torch.no_grad(), trace:
            return sample_of(vae.decode(latents)), trace
    except Exception as error:
        raise ValueError(
            f"this {type(vae).__name__} cannot decode a clip of {latents.shape[2]} latent "
            f"frames, and so not one by one: {error}"
        ) from error


def _tried(vae: ModelMixin, latents: Tensor) -> TimeLayers:
    _, first = _at_once(vae, latents[:, :, :1])
    frames, whole = _at_once(vae, latents)
    layers = time_layers(vae, whole, first, frames.shape[2])
    carry, parts, pieces = Carry(vae, layers), [], []
    cause: Exception | None = None
    carry.attach()
    try:
        for latent in latents.split(1, dim=2):
            parts.append(Trace(vae))
            with parts[-1]:
                pieces.append(carry.decode(latent))
    except Exception as error:
        cause = error
    finally:
        carry.detach()
    if cause is not None or not nearly(torch.cat(pieces, 2), frames):
        raise ValueError(_not_causal(vae, differing(whole, parts))) from cause
    # A stream in few bits may be near to what a weak look ahead makes; this is not.
    altered, changed = _at_once(vae, torch.cat([latents[:, :, :-1], -latents[:, :, -1:]], 2))
    early = sum(piece.shape[2] for piece in pieces[:-1])
    if not unaltered(frames[:, :, :early], altered[:, :, :early]):
        raise ValueError(_not_causal(vae, looking_ahead(whole, changed, parts[:-1])))
    return layers


def _not_causal(vae: ModelMixin, layer: str) -> str:
    return (
        f"{layer} of this {type(vae).__name__} makes something else of a clip latent by latent "
        "than at once: it looks ahead, or at all frames together; decode the whole clip at once"
    )
