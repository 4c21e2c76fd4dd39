"""Train the `digits` model and write it as a `DDIMPipeline` folder.

    python -m training.train_digits

An unconditional U-Net in pixel space, on the 1,797 handwritten digits that come with scikit-learn
(UCI Optical Recognition of Handwritten Digits, CC-BY 4.0), 8x8 enlarged to 16x16. Resumes from
`runs/digits` if it was interrupted.
"""

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from training.diffusion import build_scheduler, denoising_loss
from training.loop import train
from training.options import parse_options

BATCH = 64


def digits() -> tuple[Tensor, Tensor]:
    """Pictures (1797, 1, 16, 16) in [-1, 1] and the numbers that they show."""
    data = load_digits()
    small = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    large = F.interpolate(small, size=16, mode="bicubic", align_corners=False)
    return large.clamp(-1, 1), torch.from_numpy(data.target)


def build_unet() -> UNet2DModel:
    """The untrained U-Net, 1.9 M parameters."""
    return UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        attention_head_dim=16,
        norm_num_groups=16,
    )


def main() -> None:
    """Train, then save the pipeline in half precision."""
    options = parse_options(__doc__, "digits", 4000)

    pictures, _ = digits()
    torch.manual_seed(0)
    unet = build_unet()

    def loss(generator: torch.Generator, step: int) -> Tensor:
        index = torch.randint(len(pictures), (BATCH,), generator=generator)
        return denoising_loss(lambda x, t, _: unet(x, t).sample, pictures[index], generator)

    train(unet, loss, options.runs / "denoiser.pt", options.steps, lr=1e-3)
    scheduler = DDIMScheduler.from_config(build_scheduler().config, clip_sample=False)
    pipeline = DDIMPipeline(unet, scheduler)
    pipeline.to(torch.float16).save_pretrained(options.output)
    # An unconditional model takes any prompt, and only counts them.
    (options.output / "captions.json").write_text('["any digit"]\n', encoding="utf-8")
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
