"""What else guides the denoiser: ControlNet, T2I-Adapter, IP-Adapter, FreeU, PAG."""

import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiAdapter,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    T2IAdapter,
)
from diffusers.models.controlnets import MultiControlNetModel

from companion import STEPS, follows_changes, generator, keeps_contract, tensor
from conftest import EMBED, ddim, make_unet, make_vae
from pipelines_zoo import controlnet, drawn, embeds, made, picture, zoo

pytestmark = pytest.mark.filterwarnings("ignore:the plan computes:UserWarning")


class Drawing:
    """Calls of a pipeline, whose inputs change in between."""

    def __init__(self, pipe, **inputs):
        self.pipe, self.inputs = pipe, inputs

    def __call__(self):
        options = {"num_inference_steps": STEPS, "output_type": "latent"}
        return tensor(self.pipe(generator=generator(), **options, **self.inputs))

    def changing(self, **inputs):
        """What changes inputs, and what changes them back."""
        before = {name: self.inputs.get(name) for name in inputs}
        return lambda: self.inputs.update(inputs), lambda: self.inputs.update(before)


def stable(kind, unet=None, **parts):
    pipe = made(kind, unet=unet or make_unet(), vae=make_vae(), scheduler=ddim(), **parts)
    return Drawing(pipe, **embeds(5, EMBED, height=16, width=16))


def test_controlnet():
    tiny = zoo()["stable-diffusion-controlnet"]()
    draw = Drawing(tiny.pipe, **tiny.inputs, controlnet_conditioning_scale=1.0)
    keeps_contract(tiny.pipe, draw)
    follows_changes(tiny.pipe, draw, *draw.changing(image=1 - picture()))
    follows_changes(tiny.pipe, draw, *draw.changing(controlnet_conditioning_scale=0.3))


def test_controlnet_that_guides_a_part_of_the_run():
    tiny = zoo()["stable-diffusion-controlnet"]()
    tiny.inputs.update(control_guidance_start=0.25, control_guidance_end=0.7)
    keeps_contract(tiny.pipe, Drawing(tiny.pipe, **tiny.inputs))


def test_several_controlnets_in_guess_mode():
    unet = make_unet()
    nets = MultiControlNetModel([controlnet(unet), controlnet(unet)])
    assert all(isinstance(net, ControlNetModel) for net in nets.nets)
    draw = stable(StableDiffusionControlNetPipeline, unet, controlnet=nets)
    draw.inputs.update(image=[picture(), 1 - picture()], guess_mode=True)
    keeps_contract(draw.pipe, draw)


def t2i_adapter():
    adapter = T2IAdapter(
        in_channels=3, channels=[16, 32], num_res_blocks=1, downscale_factor=2,
        adapter_type="full_adapter",
    )  # fmt: skip
    for parameter in adapter.parameters():
        parameter.data.mul_(2.0)
    return adapter


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_t2i_adapter(several):
    torch.manual_seed(0)
    adapter = MultiAdapter([t2i_adapter(), t2i_adapter()]) if several else t2i_adapter()
    # Plain blocks add what the adapter says after halving the picture: only the last may be one.
    unet = make_unet(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    draw = stable(StableDiffusionAdapterPipeline, unet, adapter=adapter)
    images = [picture(), 1 - picture()]
    draw.inputs["image"] = images if several else images[0]
    draw.inputs["adapter_conditioning_scale"] = [1.0, 0.5] if several else 1.0
    keeps_contract(draw.pipe, draw)
    other = draw.changing(image=images[::-1] if several else images[1])
    follows_changes(draw.pipe, draw, *other)


def ip_adapter(unet, seed):
    """The content of an IP-Adapter file for a U-Net."""
    torch.manual_seed(seed)
    tokens, width = 4, 8
    project = {
        "proj.weight": torch.randn(tokens * EMBED, width),
        "proj.bias": torch.randn(tokens * EMBED),
        "norm.weight": torch.ones(EMBED),
        "norm.bias": torch.zeros(EMBED),
    }
    attention, number = {}, 1
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            hidden = module.to_k.out_features
            for key in ("to_k_ip", "to_v_ip"):
                attention[f"{number}.{key}.weight"] = torch.randn(hidden, EMBED) / 2
            number += 2
    return {"image_proj": project, "ip_adapter": attention}


def test_ip_adapter():
    draw = stable(StableDiffusionPipeline)
    unet = draw.pipe.unet
    keeps_contract(draw.pipe, draw)
    unet._load_ip_adapter_weights([ip_adapter(unet, 1)])
    draw.inputs["ip_adapter_image_embeds"] = [drawn(2, 1, 8)]
    keeps_contract(draw.pipe, draw)
    other = draw.changing(ip_adapter_image_embeds=[drawn(2, 1, 8, seed=3)])
    follows_changes(draw.pipe, draw, *other)
    follows_changes(
        draw.pipe,
        draw,
        lambda: draw.pipe.set_ip_adapter_scale(0.3),
        lambda: draw.pipe.set_ip_adapter_scale(1.0),
    )


def test_freeu_switched_on_and_off():
    draw = stable(StableDiffusionPipeline)
    follows_changes(
        draw.pipe,
        draw,
        lambda: draw.pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2),
        lambda: draw.pipe.disable_freeu(),
    )
    draw.pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)
    keeps_contract(draw.pipe, draw)


@pytest.mark.parametrize("guidance", [1.0, 3.0], ids=["alone", "with-guidance"])
def test_perturbed_attention(guidance):
    draw = stable(StableDiffusionPAGPipeline, pag_applied_layers=["mid", "up"])
    draw.inputs.update(guidance_scale=guidance, pag_scale=2.0)
    keeps_contract(draw.pipe, draw)
    follows_changes(draw.pipe, draw, *draw.changing(pag_scale=0.0))


def test_perturbed_attention_that_adapts():
    draw = stable(StableDiffusionPAGPipeline, pag_applied_layers=["mid"])
    draw.inputs.update(pag_scale=3.0, pag_adaptive_scale=0.002)
    keeps_contract(draw.pipe, draw)
