"""Tiny pipelines of many families: real diffusers classes, random weights, no text encoders.

`zoo()` names them; `zoo()[name]()` builds one. Prompts are embeddings, given with its inputs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from conftest import EMBED, ddim, make_dit, make_pixel_unet, make_unet, make_vae

FLOW = diffusers.FlowMatchEulerDiscreteScheduler


@dataclass(frozen=True)
class Tiny:
    """A pipeline and what it must be given besides the step count and noise.

    Attributes:
        prompts: class labels, where the pipeline draws from these.
    """

    pipe: diffusers.DiffusionPipeline
    inputs: dict[str, Any] = field(default_factory=dict)
    prompts: list[str] | None = None


_ZOO: dict[str, Callable[[], Tiny]] = {}


def zoo() -> dict[str, Callable[[], Tiny]]:
    """The builders by name."""
    import pipelines_zoo_video  # noqa: F401  it adds its own

    return dict(_ZOO)


def member(build: Callable[[], Tiny]) -> Callable[[], Tiny]:
    """A builder, listed under its name with hyphens."""

    def seeded() -> Tiny:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of diffusers, about its own classes
            return build()

    _ZOO[build.__name__.replace("_", "-")] = seeded
    return seeded


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Noise of a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def embeds(length: int, features: int, **more: Any) -> dict[str, Any]:
    """A prompt and an empty one, as embeddings."""
    prompt = drawn(1, length, features)
    return {"prompt_embeds": prompt, "negative_prompt_embeds": 0.1 * prompt.flip(1), **more}


def masked(length: int, features: int, **more: Any) -> dict[str, Any]:
    """The same with attention masks."""
    mask = torch.ones(1, length, dtype=torch.bool)
    masks = {"prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}
    return embeds(length, features, **masks, **more)


def picture(size: int = 16) -> torch.Tensor:
    """One of (1, 3, size, size) in [0, 1], brighter to the right."""
    return torch.linspace(0, 1, size).expand(1, 3, size, size).clone()


def made(kind: type, **parts: Any) -> diffusers.DiffusionPipeline:
    """The pipeline of these parts; those that it takes and that are not given are None."""
    import inspect

    taken = inspect.signature(kind.__init__).parameters
    needed = {
        name: None
        for name, parameter in taken.items()
        if name != "self" and parameter.default is inspect.Parameter.empty
    }
    if "requires_safety_checker" in taken:
        parts["requires_safety_checker"] = False
    pipe = kind(**(needed | parts))
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flow_vae(channels: int, **more: Any) -> diffusers.AutoencoderKL:
    """One without quantising convolutions, as newer models have it; it does not scale."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8,), latent_channels=channels, norm_num_groups=1,
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5,
        **more,
    )  # fmt: skip


@member
def stable_diffusion() -> Tiny:
    pipe = made(
        diffusers.StableDiffusionPipeline, unet=make_unet(), vae=make_vae(), scheduler=ddim()
    )
    return Tiny(pipe, embeds(5, EMBED, height=16, width=16))


@member
def stable_diffusion_img2img() -> Tiny:
    kind = diffusers.StableDiffusionImg2ImgPipeline
    pipe = made(kind, unet=make_unet(), vae=make_vae(), scheduler=ddim())
    return Tiny(pipe, embeds(5, EMBED, image=picture(), strength=0.6))


@member
def stable_diffusion_inpaint() -> Tiny:
    kind = diffusers.StableDiffusionInpaintPipeline
    unet = make_unet(in_channels=9)
    pipe = made(kind, unet=unet, vae=make_vae(), scheduler=ddim())
    mask = (picture()[:, :1] > 0.5).float()
    return Tiny(pipe, embeds(5, EMBED, image=picture(), mask_image=mask, height=16, width=16))


def controlnet(unet: diffusers.UNet2DConditionModel) -> diffusers.ControlNetModel:
    """One with some effect; a fresh one has none."""
    net = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    for parameter in net.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return net


@member
def stable_diffusion_controlnet() -> Tiny:
    unet = make_unet()
    pipe = made(
        diffusers.StableDiffusionControlNetPipeline,
        unet=unet, controlnet=controlnet(unet), vae=make_vae(), scheduler=ddim(),
    )  # fmt: skip
    return Tiny(pipe, embeds(5, EMBED, image=picture(), height=16, width=16))


def sdxl_unet() -> diffusers.UNet2DConditionModel:
    # Six numbers of 8 embedded channels each, and 16 pooled.
    return make_unet(
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )  # fmt: skip


def pooled(width: int) -> dict[str, torch.Tensor]:
    """Pooled embeddings of both prompts."""
    return {
        "pooled_prompt_embeds": drawn(1, width, seed=1),
        "negative_pooled_prompt_embeds": drawn(1, width, seed=2),
    }


@member
def stable_diffusion_xl() -> Tiny:
    scheduler = diffusers.EulerDiscreteScheduler.from_config(ddim().config)
    kind = diffusers.StableDiffusionXLPipeline
    pipe = made(kind, unet=sdxl_unet(), vae=make_vae(), scheduler=scheduler)
    return Tiny(pipe, embeds(5, EMBED, height=16, width=16, **pooled(16)))


@member
def latent_super_resolution() -> Tiny:
    unet = make_pixel_unet(in_channels=6, out_channels=3)
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 8), latent_channels=3, num_vq_embeddings=16, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    kind = diffusers.LDMSuperResolutionPipeline
    return Tiny(made(kind, unet=unet, vqvae=vqvae, scheduler=ddim()), {"image": picture(8)})


@member
def kandinsky_22() -> Tiny:
    unet = make_unet(
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", out_channels=8, attention_head_dim=8,
        block_out_channels=(32, 64),
        addition_embed_type="image", encoder_hid_dim=EMBED, encoder_hid_dim_type="image_proj",
        resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    movq = diffusers.VQModel(
        block_out_channels=(32, 32), latent_channels=4, num_vq_embeddings=16, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_type="spatial", vq_embed_dim=4,
    )  # fmt: skip
    pipe = made(diffusers.KandinskyV22Pipeline, unet=unet, movq=movq, scheduler=ddim())
    image = {"image_embeds": drawn(1, EMBED), "negative_image_embeds": drawn(1, EMBED, seed=1)}
    return Tiny(pipe, {**image, "height": 16, "width": 16})


@member
def stable_diffusion_3() -> Tiny:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, out_channels=4, num_layers=2,
        attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16,
        joint_attention_dim=EMBED, pooled_projection_dim=16, pos_embed_max_size=16,
    )  # fmt: skip
    kind = diffusers.StableDiffusion3Pipeline
    pipe = made(kind, transformer=transformer, vae=flow_vae(4), scheduler=FLOW(shift=3.0))
    return Tiny(pipe, embeds(5, EMBED, height=8, width=8, **pooled(16)))


@member
def flux() -> Tiny:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=EMBED, pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4), guidance_embeds=True,
    )  # fmt: skip
    scheduler = FLOW(use_dynamic_shifting=True, shift=3.0)
    pipe = made(
        diffusers.FluxPipeline, transformer=transformer, vae=flow_vae(1), scheduler=scheduler
    )
    prompt = {"prompt_embeds": drawn(1, 5, EMBED), "pooled_prompt_embeds": drawn(1, 16)}
    return Tiny(pipe, {**prompt, "height": 8, "width": 8})


@member
def chroma() -> Tiny:
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=EMBED, axes_dims_rope=(2, 2, 4),
        approximator_hidden_dim=16, approximator_layers=1, approximator_num_channels=16,
    )  # fmt: skip
    pipe = made(
        diffusers.ChromaPipeline, transformer=transformer, vae=flow_vae(1), scheduler=FLOW()
    )
    return Tiny(pipe, masked(5, EMBED, height=8, width=8))


@member
def pixart_alpha() -> Tiny:
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2,
        caption_channels=EMBED, cross_attention_dim=16, in_channels=4, out_channels=8,
    )  # fmt: skip
    pipe = made(
        diffusers.PixArtAlphaPipeline, transformer=transformer, vae=make_vae(), scheduler=ddim()
    )
    sizes = {"height": 16, "width": 16, "use_resolution_binning": False, "negative_prompt": None}
    return Tiny(pipe, masked(5, EMBED, **sizes))


@member
def sana() -> Tiny:
    transformer = diffusers.SanaTransformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, out_channels=4, num_layers=2,
        num_attention_heads=2, attention_head_dim=8, num_cross_attention_heads=2,
        cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=EMBED,
    )  # fmt: skip
    blocks = ("ResBlock", "EfficientViTBlock")
    vae = diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2,
        encoder_block_types=blocks, decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu",
    )  # fmt: skip
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = made(diffusers.SanaPipeline, transformer=transformer, vae=vae, scheduler=scheduler)
    sizes = {"height": 32, "width": 32, "use_resolution_binning": False, "negative_prompt": None}
    return Tiny(pipe, masked(5, EMBED, **sizes))


@member
def qwen_image() -> Tiny:
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=EMBED, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1,
        temperal_downsample=[False, True], latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    pipe = made(diffusers.QwenImagePipeline, transformer=transformer, vae=vae, scheduler=FLOW())
    mask = torch.ones(1, 5, dtype=torch.long)
    masks = {"prompt_embeds_mask": mask, "negative_prompt_embeds_mask": mask}
    return Tiny(pipe, embeds(5, EMBED, height=16, width=16, **masks))


@member
def z_image() -> Tiny:
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=2,
        n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=EMBED,
        axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        token.data.fill_(1.0)  # else whatever was in memory
    pipe = made(
        diffusers.ZImagePipeline, transformer=transformer, vae=flow_vae(4), scheduler=FLOW()
    )
    prompt = {"prompt_embeds": [drawn(5, EMBED)], "negative_prompt_embeds": [drawn(4, EMBED)]}
    return Tiny(pipe, {**prompt, "height": 16, "width": 16})


@member
def lumina2() -> Tiny:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=16, num_layers=2,
        num_refiner_layers=1, num_attention_heads=2, num_kv_heads=1, multiple_of=16,
        axes_dim_rope=(4, 2, 2), axes_lens=(64, 32, 32), cap_feat_dim=EMBED,
    )  # fmt: skip
    pipe = made(
        diffusers.Lumina2Pipeline, transformer=transformer, vae=flow_vae(4), scheduler=FLOW()
    )
    return Tiny(pipe, masked(5, EMBED, height=16, width=16))


@member
def aura_flow() -> Tiny:
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_mmdit_layers=1,
        num_single_dit_layers=1, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=EMBED, pos_embed_max_size=64,
    )  # fmt: skip
    pipe = made(
        diffusers.AuraFlowPipeline, transformer=transformer, vae=make_vae(), scheduler=FLOW()
    )
    return Tiny(pipe, masked(5, EMBED, height=16, width=16))


@member
def cogview3() -> Tiny:
    transformer = diffusers.CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, text_embed_dim=EMBED, time_embed_dim=8, condition_dim=2,
        pos_embed_max_size=8, sample_size=8,
    )  # fmt: skip
    scheduler = diffusers.CogVideoXDDIMScheduler()
    kind = diffusers.CogView3PlusPipeline
    pipe = made(kind, transformer=transformer, vae=make_vae(), scheduler=scheduler)
    return Tiny(pipe, embeds(5, EMBED, height=16, width=16))


@member
def hunyuan_dit() -> Tiny:
    transformer = diffusers.HunyuanDiT2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2,
        in_channels=4, cross_attention_dim=EMBED, cross_attention_dim_t5=EMBED, hidden_size=16,
        pooled_projection_dim=8, activation_fn="gelu-approximate", text_len=5, text_len_t5=5,
    )  # fmt: skip
    pipe = made(
        diffusers.HunyuanDiTPipeline, transformer=transformer, vae=make_vae(), scheduler=ddim()
    )
    first = masked(5, EMBED, height=16, width=16, use_resolution_binning=False)
    second = {f"{name}_2": value for name, value in masked(5, EMBED).items()}
    return Tiny(pipe, first | second)


@member
def dit() -> Tiny:
    pipe = made(
        diffusers.DiTPipeline, transformer=make_dit(num_embeds_ada_norm=1000), vae=make_vae(),
        scheduler=ddim(),
    )  # fmt: skip
    return Tiny(pipe, prompts=["1", "2", "3", "4"])


@member
def unconditional_ddim() -> Tiny:
    return Tiny(made(diffusers.DDIMPipeline, unet=make_pixel_unet(), scheduler=ddim()))


@member
def stable_cascade_decoder() -> Tiny:
    decoder = diffusers.StableCascadeUNet(
        in_channels=4, out_channels=4, conditioning_dim=16, block_out_channels=(16, 32),
        num_attention_heads=(0, 4), down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1), clip_text_pooled_in_channels=EMBED,
        effnet_in_channels=16, down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1), pixel_mapper_in_channels=3, kernel_size=3,
        block_types_per_layer=(
            ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        ),
    )  # fmt: skip
    from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

    vqgan = PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=16)
    pipe = made(
        diffusers.StableCascadeDecoderPipeline, decoder=decoder, vqgan=vqgan,
        scheduler=diffusers.DDPMWuerstchenScheduler(), latent_dim_scale=4,
    )  # fmt: skip
    texts = {
        "prompt_embeds": drawn(1, 5, EMBED),
        "prompt_embeds_pooled": drawn(1, 1, EMBED),
        "negative_prompt_embeds": drawn(1, 5, EMBED, seed=1),
        "negative_prompt_embeds_pooled": drawn(1, 1, EMBED, seed=1),
    }
    return Tiny(pipe, {**texts, "image_embeddings": drawn(1, 16, 2, 2), "guidance_scale": 2.0})


def tokens(kind: type, **inputs: Any) -> Tiny:
    """A masked model: its denoiser fills in tokens of a picture."""
    transformer = diffusers.UVit2DModel(
        hidden_size=16, cond_embed_dim=8, micro_cond_encode_dim=4, micro_cond_embed_dim=20,
        encoder_hidden_size=8, vocab_size=12, codebook_size=10, in_channels=8,
        block_out_channels=8, num_res_blocks=2, block_num_heads=2, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=16, sample_size=8,
    )  # fmt: skip
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 16), latent_channels=4, num_vq_embeddings=10, norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        lookup_from_codebook=True, mid_block_add_attention=False,
    )  # fmt: skip
    pipe = made(kind, vqvae=vqvae, transformer=transformer, scheduler=diffusers.AmusedScheduler(11))
    texts = {
        "prompt_embeds": drawn(1, 8),
        "encoder_hidden_states": drawn(1, 5, 8),
        "negative_prompt_embeds": drawn(1, 8, seed=1),
        "negative_encoder_hidden_states": drawn(1, 5, 8, seed=1),
    }
    return Tiny(pipe, texts | inputs)


@member
def amused() -> Tiny:
    return tokens(diffusers.AmusedPipeline)


@member
def amused_img2img() -> Tiny:
    return tokens(diffusers.AmusedImg2ImgPipeline, image=picture(), strength=0.7)


@member
def amused_inpaint() -> Tiny:
    mask = (picture()[:, :1] > 0.5).float()
    return tokens(diffusers.AmusedInpaintPipeline, image=picture(), mask_image=mask, strength=0.9)


@member
def stable_audio() -> Tiny:
    transformer = diffusers.StableAudioDiTModel(
        sample_size=8, in_channels=3, out_channels=3, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, num_key_value_attention_heads=1, cross_attention_dim=8,
        cross_attention_input_dim=8, global_states_input_dim=16, time_proj_dim=8,
    )  # fmt: skip
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=6, downsampling_ratios=[1, 2], decoder_channels=3,
        decoder_input_channels=3, audio_channels=2, channel_multiples=[2, 4], sampling_rate=4,
    )  # fmt: skip
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel

    # The published one wants torchsde; it solves the same equation.
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
    )
    project = StableAudioProjectionModel(
        text_encoder_dim=8, conditioning_dim=8, min_value=0, max_value=32
    )
    pipe = made(
        diffusers.StableAudioPipeline, transformer=transformer, vae=vae, scheduler=scheduler,
        projection_model=project,
    )  # fmt: skip
    return Tiny(pipe, embeds(5, 8, audio_end_in_s=2.0))


def image_encoder(width: int) -> dict[str, Any]:
    """A tiny CLIP for pictures of 16 by 16."""
    config = CLIPVisionConfig(
        hidden_size=16, projection_dim=width, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, intermediate_size=16, patch_size=8,
    )  # fmt: skip
    return {
        "image_encoder": CLIPVisionModelWithProjection(config),
        "feature_extractor": CLIPImageProcessor(crop_size=16, size=16),
    }
