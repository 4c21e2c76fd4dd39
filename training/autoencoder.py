"""The emoji autoencoder: 64x64 RGB to 16x16 latents with 8 channels (`AutoencoderKL`)."""

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from training.loop import train

LATENT_NOISE = 0.05


def build() -> AutoencoderKL:
    """The untrained autoencoder, 1.6 M parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=64,
    )


def train_autoencoder(pictures: Tensor, runs: Path, steps: int = 1300) -> AutoencoderKL:
    """The trained autoencoder, its `scaling_factor` set so that latents have unit variance.

    Trained on the mode of the posterior plus noise of standard deviation 0.05, so that is the
    standard deviation its posterior is given in the end.
    """
    torch.manual_seed(0)
    vae = build()

    def loss(generator: torch.Generator, step: int) -> Tensor:
        index = torch.randint(len(pictures), (16,), generator=generator)
        x = pictures[index]
        flip = torch.rand(16, 1, 1, 1, generator=generator) < 0.5
        x = torch.where(flip, x.flip(-1), x)
        z = vae.encode(x).latent_dist.mode()
        noise = torch.randn(z.shape, generator=generator)
        y = vae.decode(z + LATENT_NOISE * noise).sample
        return F.l1_loss(y, x) + 0.5 * F.mse_loss(y, x) + 1e-4 * z.square().mean()

    train(vae, loss, runs / "autoencoder.pt", steps, lr=1e-3, ema=0.99)
    with torch.no_grad():
        channels = vae.config.latent_channels
        vae.quant_conv.weight[channels:] = 0.0
        vae.quant_conv.bias[channels:] = 2 * math.log(LATENT_NOISE)
    vae.register_to_config(scaling_factor=1.0 / encode(vae, pictures).std().item())
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Unscaled latents (posterior modes) of `pictures`, shape (N, 8, 16, 16)."""
    return torch.cat([vae.encode(batch).latent_dist.mode() for batch in pictures.split(32)])


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Mean PSNR of the reconstructions in dB, for pictures in [-1, 1]."""
    decoded = torch.cat([vae.decode(z).sample for z in encode(vae, pictures).split(32)])
    mse = ((decoded.clamp(-1, 1) - pictures) / 2).square().mean(dim=(1, 2, 3))
    return (-10 * mse.log10()).mean().item()
