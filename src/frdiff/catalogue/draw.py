"""The tensors of one call: latents, text, ids and times, where and in the type that a model has."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """Draws the inputs of a denoiser call, the same ones each time; no contents on the meta device.

    Attributes:
        batch: samples in the call; guidance in one call counts as two.
        height, width: of the latents, before the denoiser's own patches.
        frames: of the latents, where there are any.
        words: tokens of the text.
        device, dtype: of the model.
    """

    batch: int
    height: int
    width: int
    frames: int
    words: int
    device: torch.device
    dtype: torch.dtype
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.height, self.width

    def normal(self, *shape: int) -> Tensor:
        """Noise of any shape."""
        if self.device.type == "meta":
            return torch.empty(shape, dtype=self.dtype, device=self.device)
        return torch.randn(shape, generator=self.generator).to(self.device, self.dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high)."""
        if self.device.type == "meta":
            return torch.empty(shape, dtype=torch.long, device=self.device)
        return torch.randint(high, shape, generator=self.generator).to(self.device)

    def image(self, channels: int) -> Tensor:
        """Latents of images, `(batch, channels, height, width)`."""
        return self.normal(self.batch, channels, self.height, self.width)

    def video(self, channels: int) -> Tensor:
        """Latents of videos, `(batch, channels, frames, height, width)`."""
        return self.normal(self.batch, channels, self.frames, self.height, self.width)

    def tokens(self, length: int, channels: int) -> Tensor:
        """A sequence, `(batch, length, channels)`."""
        return self.normal(self.batch, length, channels)

    def text(self, channels: int) -> Tensor:
        """Embeddings of the text, `(batch, words, channels)`."""
        return self.tokens(self.words, channels)

    def vector(self, channels: int) -> Tensor:
        """One embedding per sample, `(batch, channels)`."""
        return self.normal(self.batch, channels)

    def mask(self, length: int | None = None, dtype: torch.dtype = torch.long) -> Tensor:
        """A mask that hides nothing, `(batch, length)`, by default over the text."""
        return torch.ones(self.batch, length or self.words, dtype=dtype, device=self.device)

    def each(self, *values: float, dtype: torch.dtype | None = None) -> Tensor:
        """The same numbers for every sample, `(batch, len(values))`."""
        row = torch.tensor(values, dtype=dtype or self.dtype, device=self.device)
        return row.repeat(self.batch, 1)

    def step(self) -> Tensor:
        """The middle of 1000 training steps, as a whole number per sample."""
        return self.each(500, dtype=torch.long).flatten()

    def time(self, value: float = 0.5) -> Tensor:
        """The middle of a flow, or another number, per sample."""
        return self.each(value).flatten()

    def rotary(self, length: int, head: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of a sequence's places, each `(length, head)`."""
        angle = self.normal(length, head).float()
        return angle.cos(), angle.sin()

    def grid(self, *sizes: int, axes: int = 3) -> Tensor:
        """Ids of a row-major grid, `(prod(sizes), axes)`; its axes are the last ones.

        The other axes, such as time in front of height and width, are zero.
        """
        ranges = [torch.arange(size, device=self.device) for size in sizes]
        found = torch.cartesian_prod(*ranges).view(-1, len(sizes))
        padded = torch.zeros(len(found), axes, device=self.device, dtype=self.dtype)
        padded[:, axes - len(sizes) :] = found
        return padded

    def no_ids(self, length: int, axes: int = 3) -> Tensor:
        """Ids of a sequence without positions, `(length, axes)`."""
        return torch.zeros(length, axes, device=self.device, dtype=self.dtype)
