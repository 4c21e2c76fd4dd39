"""Train the `emoji-gan` generator and write it as a folder of diffusers' layout.

    python -m training.train_emoji_gan

A style-based generator of 64x64 emoji (`frdiff.frames.StyleGenerator`) against a residual
discriminator: non-saturating loss with R1 (Mescheder et al. 2018), differentiable augmentation
(Zhao et al. 2020). With so few pictures half of every batch are anchors: latents tied to a picture
each, its principal components, which are to give that picture, in pixels and in the
discriminator's features; walks lead from one to the next. At first there are anchors alone.
Resumes from `runs/emoji-gan` if it was interrupted.
"""

import json
import math
import shutil
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import frdiff
from frdiff.frames.generator import SLOPE, StyleGenerator
from training.autoencoder import encode
from training.data import motifs
from training.options import ROOT, parse_options

BATCH = 4  # of free latents, and as many anchors
ALONE = 1800  # updates with anchors alone
R1, R1_EVERY = 1.0, 16
SHIFT = 6
PIXELS, FEATURES = 10.0, 1.0
RATE = 1e-3
EMA = 0.998


class CriticBlock(nn.Module):
    """A residual block of two convolutions around a 1x1 shortcut, at half the resolution after."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The features (N, out, H / 2, W / 2) of `x` (N, C, H, W)."""
        y = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return (F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))) / math.sqrt(2)


class Discriminator(nn.Module):
    """Tells pictures from the generator's; gives the features of every resolution, too.

    Args:
        channels: of the blocks' inputs, and of the last one's output, which is 4x4.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 128, 128)) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(CriticBlock(*pair) for pair in pairwise(channels))
        self.conv_out = nn.Conv2d(channels[-1] + 1, channels[-1], 3, padding=1)
        self.head = nn.Linear(16 * channels[-1], 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N,), the higher the truer, and the features of every block."""
        x, features = self.conv_in(pictures), []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        spread = x.std(dim=0, unbiased=False).mean().expand(len(x), 1, 4, 4)
        x = F.leaky_relu(self.conv_out(torch.cat([x, spread], dim=1)), SLOPE)
        return self.head(x.flatten(1)).squeeze(1), features


def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures (N, 3, S, S) shifted, brightened and cut out at random."""
    n, _, size, _ = pictures.shape
    dx, dy = torch.randint(-SHIFT, SHIFT + 1, (2, n), generator=generator)
    place = torch.arange(size)
    rows = (place[None] + dy[:, None]).clamp(0, size - 1)
    columns = (place[None] + dx[:, None]).clamp(0, size - 1)
    index = torch.arange(n)[:, None, None]
    x = pictures.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    x = x.permute(0, 3, 1, 2)
    light, contrast = torch.rand(2, n, 1, 1, 1, generator=generator)
    x = x * (0.75 + 0.5 * contrast) + 0.5 * (light - 0.5)
    left, top = torch.randint(-size // 4, size, (2, n), generator=generator)
    inside_x = (place[None] >= left[:, None]) & (place[None] < left[:, None] + size // 4)
    inside_y = (place[None] >= top[:, None]) & (place[None] < top[:, None] + size // 4)
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return x.masked_fill(hole, 0.0)


def anchors_of(pictures: Tensor, dim: int) -> Tensor:
    """Latents (N, dim) of unit length: the whitened principal components of what is drawn."""
    vae = frdiff.load_model("emoji").vae
    latents = encode(vae, pictures).flatten(1)
    centred = latents - latents.mean(dim=0)
    components, _, _ = torch.linalg.svd(centred, full_matrices=False)
    return F.normalize(components[:, :dim], dim=1)


def main() -> None:
    """Train, then save the generator in half precision."""
    options = parse_options(__doc__, "emoji-gan", 7000)
    pictures, captions, learnt = motifs()
    real = pictures[learnt]
    torch.manual_seed(0)
    layout = torch.channels_last  # a third faster on a CPU
    gan = StyleGenerator(num_anchors=len(learnt)).to(memory_format=layout)
    critic = Discriminator().to(memory_format=layout)
    gan.anchors.copy_(anchors_of(real, gan.config.latent_dim))
    average = torch.optim.swa_utils.AveragedModel(
        gan, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)
    )
    maker = torch.optim.Adam(gan.parameters(), lr=RATE, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=RATE, betas=(0.0, 0.99))
    generator = torch.Generator().manual_seed(0)
    parts = {"gan": gan, "critic": critic, "average": average, "maker": maker, "judge": judge}
    checkpoint = options.runs / "gan.pt"
    start = _resumed(checkpoint, parts, generator)
    began = time.monotonic()
    for step in range(start, options.steps):
        scale = min(1.0, (step + 1) / 100) * (0.05 + 0.95 * (1 - step / options.steps))
        maker.param_groups[0]["lr"] = judge.param_groups[0]["lr"] = RATE * scale
        alone = step < ALONE
        tied = torch.randint(len(real), (2 * BATCH if alone else BATCH,), generator=generator)
        free = torch.randn(0 if alone else BATCH, gan.config.latent_dim, generator=generator)
        made = gan(torch.cat([gan.anchors[tied], free]))
        pixels = F.l1_loss(made[: len(tied)], real[tied])
        loss, told = PIXELS * pixels, f"pixels {pixels:.4f}"
        if not alone:
            critic.requires_grad_(False)
            logits, _ = critic(augmented(made, generator))
            likeness = _likeness(critic, made[: len(tied)], real[tied])
            loss = loss + F.softplus(-logits).mean() + FEATURES * likeness
        maker.zero_grad()
        loss.backward()
        maker.step()
        average.update_parameters(gan)
        if not alone:
            critic.requires_grad_(True)
            shown = real[torch.randint(len(real), (2 * BATCH,), generator=generator)]
            judged = _judged(critic, made.detach(), shown, generator, step % R1_EVERY == 0)
            judge.zero_grad()
            judged.backward()
            judge.step()
            told += f" features {likeness:.4f} critic {judged:.4f}"
        done = step + 1
        if done % 50 == 0:
            left = (time.monotonic() - began) / (done - start) * (options.steps - done) / 60
            print(f"step {done}/{options.steps} {told} {left:.0f} min left", flush=True)
        if done % 250 == 0 or done == options.steps:
            _save(checkpoint, parts, generator, done)
    average.module.eval().to(torch.float16).save_pretrained(options.output)
    text = json.dumps([captions[motif] for motif in learnt], indent=0)
    (options.output / "captions.json").write_text(text + "\n", encoding="utf-8")
    shutil.copy(ROOT / "training/emoji/ATTRIBUTION.md", options.output)
    print(f"saved {options.output}")


def _likeness(critic: Discriminator, made: Tensor, real: Tensor) -> Tensor:
    """How far the critic's features of pictures lie from those of what they should be."""
    _, found = critic(made)
    with torch.no_grad():
        _, wanted = critic(real)
    pairs = zip(found, wanted, strict=True)
    return torch.stack([F.l1_loss(a, b) / b.abs().mean() for a, b in pairs]).sum()


def _judged(
    critic: Discriminator, made: Tensor, real: Tensor, generator: torch.Generator, slope: bool
) -> Tensor:
    """The critic's loss, with the penalty on its slope at real pictures if asked for."""
    fake, _ = critic(augmented(made, generator))
    mirrored = torch.rand(len(real), 1, 1, 1, generator=generator) < 0.5
    seen = augmented(torch.where(mirrored, real.flip(-1), real), generator).requires_grad_(slope)
    true, _ = critic(seen)
    loss = F.softplus(fake).mean() + F.softplus(-true).mean()
    if slope:
        (gradient,) = torch.autograd.grad(true.sum(), seen, create_graph=True)
        loss = loss + R1_EVERY * R1 / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
    return loss


def _save(checkpoint: Path, parts: dict, generator: torch.Generator, step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"generator": generator.get_state(), "step": step}
    temporary = checkpoint.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(checkpoint)


def _resumed(checkpoint: Path, parts: dict, generator: torch.Generator) -> int:
    """The number of updates done before, whose state is restored."""
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    generator.set_state(state["generator"])
    print(f"resumed {checkpoint} at step {state['step']}", flush=True)
    return int(state["step"])


if __name__ == "__main__":
    main()
