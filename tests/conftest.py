"""Tiny models of the real diffusers classes, seeded, on the CPU."""

import os
import shutil
import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        DiTPipeline,
        DiTTransformer2DModel,
        StableDiffusionImg2ImgPipeline,
        StableDiffusionPipeline,
        UNet2DConditionModel,
        UNet2DModel,
    )

# One thread, and one for every process that a test starts: with two workers on two cores, threads
# that share their work would wait for one another most of the time.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.backends.mkldnn.deterministic = True

NEEDS_BROWSER = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium and chromedriver here: apt install chromium chromium-driver",
)
EMBED = 16
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def ddim():
    """DDIM as Stable Diffusion sets it."""
    options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return DDIMScheduler(**SCHEDULER, **options)


def make_unet(seed: int = 0, **changes):
    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (16, 32),
        "cross_attention_dim": EMBED,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**(config | changes)).eval()


def make_pixel_unet(seed: int = 0, **changes):
    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 8,
    }
    return UNet2DModel(**(config | changes)).eval()


def make_dit(seed: int = 0, **changes):
    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "num_layers": 2,
        "patch_size": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "in_channels": 4,
        "out_channels": 8,
        "num_embeds_ada_norm": 10,
        "norm_type": "ada_norm_zero",
    }
    model = DiTTransformer2DModel(**(config | changes)).eval()
    # A fresh DiT returns zeros whatever its blocks do; give its gates and outputs some life.
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def make_vae():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip


def make_pipe(kind=StableDiffusionPipeline, scheduler=None, unet=None):
    """A Stable Diffusion pipeline that takes prompt embeddings, without a text encoder."""
    pipe = kind(
        vae=make_vae(),
        text_encoder=None,
        tokenizer=None,
        unet=unet or make_unet(),
        scheduler=scheduler or ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_dit_pipe():
    pipe = DiTPipeline(make_dit(num_embeds_ada_norm=1000), make_vae(), ddim())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call(pipe, steps=12, batch=1, seed=0, size=16, prompt=0, **options):
    """Latents drawn by `make_pipe`'s pipelines."""
    embeds = torch.randn(batch, 5, EMBED, generator=torch.Generator().manual_seed(100 + prompt))
    options = {"num_inference_steps": steps, "guidance_scale": 3.0} | options
    if isinstance(pipe, StableDiffusionImg2ImgPipeline):
        options["image"] = torch.linspace(0, 1, 3 * size * size).view(1, 3, size, size)
    else:
        options |= {"height": size, "width": size}
    return pipe(
        prompt_embeds=embeds,
        negative_prompt_embeds=torch.zeros_like(embeds),
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
        **options,
    ).images


@torch.no_grad()
def loop(unet, scheduler, steps=12, seed=0, batch=1, guidance=3.0, two_calls=False, size=8):
    """Latents from a hand-written loop, guidance in one call or in two."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 4, size, size, generator=generator)
    text = torch.randn(1, 5, EMBED, generator=generator).repeat(batch, 1, 1)
    empty = torch.zeros_like(text)
    scheduler.set_timesteps(steps)
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        model_input = scheduler.scale_model_input(x, t)
        if two_calls:
            uncond = unet(model_input, t, empty).sample
            cond = unet(model_input, t, text).sample
        else:
            both = unet(torch.cat([model_input] * 2), t, torch.cat([empty, text])).sample
            uncond, cond = both.chunk(2)
        x = scheduler.step(uncond + guidance * (cond - uncond), t, x).prev_sample
    return x


@pytest.fixture(autouse=True)
def quiet():
    diffusers.utils.logging.set_verbosity_error()


@pytest.fixture
def unet():
    return make_unet()


@pytest.fixture
def scheduler():
    return ddim()


@pytest.fixture
def pipe():
    return make_pipe()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small pipeline in a folder, as users have them."""
    path = tmp_path_factory.mktemp("pipe")
    make_dit_pipe().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def studio():
    """What the app has open, one for all its tests: a model opens once."""
    from frdiff.app.studio import Studio

    return Studio("digits", "cpu")
