"""What the denoisers have in common: the noise schedule and the loss."""

from collections.abc import Callable

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

MIN_SNR = 5.0
LABEL_DROP = 0.1


def build_scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++(2M) on Stable Diffusion's betas, v-prediction."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )


def denoising_loss(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, generator: torch.Generator
) -> Tensor:
    """The v-prediction loss with min-SNR weights (Hang et al. 2023, arXiv 2303.09556) on a batch.

    Args:
        predict: the denoiser: noisy batch, timesteps (B,) and a mask (B,) of the pictures whose
            condition is to be dropped for guidance -> v.
        x: clean batch (B, C, H, W) of unit variance; timesteps are stratified over it.
    """
    alphas = build_scheduler().alphas_cumprod
    strata = (torch.arange(len(x)) + torch.rand(len(x), generator=generator)) / len(x)
    t = (strata * len(alphas)).long()
    noise = torch.randn(x.shape, generator=generator)
    drop = torch.rand(len(x), generator=generator) < LABEL_DROP
    alpha = alphas[t].view(-1, 1, 1, 1)
    x_t = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
    error = (predict(x_t, t, drop) - v).square().mean(dim=(1, 2, 3))
    snr = alpha.flatten() / (1 - alpha.flatten())
    return (error * snr.clamp(max=MIN_SNR) / (snr + 1)).mean()
