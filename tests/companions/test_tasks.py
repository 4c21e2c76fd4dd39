"""What pipelines are for: pictures, videos and sounds, from texts, pictures, classes or nothing."""

import diffusers
import pytest
import torch

from companion import STEPS, follows_changes, keeps_contract
from conftest import EMBED, ddim, make_unet, make_vae
from frdiff.sampling import sample
from pipelines_zoo import Tiny, embeds, made, picture, zoo

pytestmark = [
    pytest.mark.filterwarnings("ignore:the plan computes:UserWarning"),
    pytest.mark.filterwarnings("ignore:a run of:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm` is deprecated:FutureWarning"),
]


def upscaler():
    """A picture four times as large: the small one is noised and laid beside the latents."""
    unet = make_unet(in_channels=7, num_class_embeds=400)
    pipe = made(
        diffusers.StableDiffusionUpscalePipeline, unet=unet, vae=make_vae(), scheduler=ddim(),
        low_res_scheduler=diffusers.DDPMScheduler(), max_noise_level=350,
    )  # fmt: skip
    return Tiny(pipe, embeds(5, EMBED, image=picture(8), noise_level=20))


def inpainting_without_a_mask_for_the_network():
    """What is kept of the picture is laid over the latents after every step."""
    kind = diffusers.StableDiffusionInpaintPipeline
    pipe = made(kind, unet=make_unet(), vae=make_vae(), scheduler=ddim())
    mask = (picture()[:, :1] > 0.5).float()
    return Tiny(pipe, embeds(5, EMBED, image=picture(), mask_image=mask, height=16, width=16))


def from_zoo(name, kind, **inputs):
    """Another pipeline of the same networks, for another task."""

    def build():
        tiny = zoo()[name]()
        pipe = kind(**tiny.pipe.components)
        pipe.set_progress_bar_config(disable=True)
        kept = {key: value for key, value in tiny.inputs.items() if inputs.get(key, 0) is not None}
        return Tiny(pipe, kept | {key: value for key, value in inputs.items() if value is not None})

    return build


IMAGE = {"height": None, "width": None, "image": picture(), "strength": 0.75}
CASES = {
    "text-to-image": (zoo()["stable-diffusion"], STEPS),
    "text-to-image-flow": (zoo()["stable-diffusion-3"], STEPS),
    "text-to-image-two-calls": (zoo()["qwen-image"], STEPS),
    "image-to-image": (zoo()["stable-diffusion-img2img"], 7),
    "image-to-image-flow": (
        from_zoo("stable-diffusion-3", diffusers.StableDiffusion3Img2ImgPipeline, **IMAGE),
        9,
    ),
    "inpainting": (zoo()["stable-diffusion-inpaint"], STEPS),
    "inpainting-by-latents": (inpainting_without_a_mask_for_the_network, STEPS),
    "super-resolution": (zoo()["latent-super-resolution"], STEPS),
    "super-resolution-from-text": (upscaler, STEPS),
    "image-to-video": (zoo()["stable-video-diffusion"], STEPS),
    "text-to-video": (zoo()["wan"], STEPS),
    "text-to-video-motion": (zoo()["animatediff"], STEPS),
    "video-to-video": (
        from_zoo(
            "cogvideox",
            diffusers.CogVideoXVideoToVideoPipeline,
            num_frames=None,
            video=[picture()[0].permute(1, 2, 0).numpy()] * 8,
            strength=0.75,
        ),
        9,
    ),
    "text-to-audio": (zoo()["stable-audio"], STEPS),
    "class-conditional": (zoo()["dit"], STEPS),
    "unconditional": (zoo()["unconditional-ddim"], STEPS),
}


def drawer(tiny, **options):
    prompts = (tiny.prompts or [""])[:1]

    def draw():
        return torch.from_numpy(
            sample(tiny.pipe, prompts, steps=STEPS, inputs=tiny.inputs, **options)
        )

    return draw


@pytest.mark.parametrize("task", CASES)
def test_task(task):
    build, steps = CASES[task]
    tiny = build()
    keeps_contract(tiny.pipe, drawer(tiny), steps=steps)


@pytest.mark.parametrize(
    "task", ["image-to-image", "inpainting", "super-resolution", "image-to-video"]
)
def test_another_picture_in_the_next_call(task):
    build, _ = CASES[task]
    tiny = build()
    first = tiny.inputs["image"]
    follows_changes(
        tiny.pipe,
        drawer(tiny),
        lambda: tiny.inputs.update(image=1 - first),
        lambda: tiny.inputs.update(image=first),
    )


def test_another_length_of_video_in_the_next_call():
    tiny = zoo()["wan"]()
    frames = tiny.inputs["num_frames"]
    draw = drawer(tiny)

    def first_frame():
        return draw()[:, :1]

    follows_changes(
        tiny.pipe,
        first_frame,
        lambda: tiny.inputs.update(num_frames=frames + 4),
        lambda: tiny.inputs.update(num_frames=frames),
    )
