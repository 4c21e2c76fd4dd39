"""Tiny pipelines that make videos; see `pipelines_zoo`."""

import diffusers
import torch

from conftest import EMBED, ddim, make_unet, make_vae
from pipelines_zoo import (
    FLOW,
    Tiny,
    drawn,
    embeds,
    image_encoder,
    made,
    masked,
    member,
    picture,
)

SMALL = {"height": 16, "width": 16}


@member
def wan() -> Tiny:
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16,
        out_channels=16, text_dim=EMBED, freq_dim=16, ffn_dim=32, num_layers=2,
        rope_max_seq_len=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )  # fmt: skip
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = made(diffusers.WanPipeline, transformer=transformer, vae=vae, scheduler=scheduler)
    return Tiny(pipe, embeds(5, EMBED, num_frames=5, **SMALL))


@member
def ltx() -> Tiny:
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=2,
        attention_head_dim=8, cross_attention_dim=16, num_layers=2, caption_channels=EMBED,
    )  # fmt: skip
    plain = (False, False, False, False)
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, *plain), upsample_residual=plain,
        upsample_factor=(1,) * 4, timestep_conditioning=False, patch_size=1, patch_size_t=1,
    )  # fmt: skip
    scheduler = FLOW(use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1)
    pipe = made(diffusers.LTXPipeline, transformer=transformer, vae=vae, scheduler=scheduler)
    return Tiny(pipe, masked(5, EMBED, height=32, width=32, num_frames=9))


@member
def cogvideox() -> Tiny:
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4,
        time_embed_dim=2, text_embed_dim=EMBED, num_layers=2, sample_width=2, sample_height=2,
        sample_frames=9, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=5,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip
    scheduler = diffusers.CogVideoXDDIMScheduler(clip_sample=False)
    kind = diffusers.CogVideoXPipeline
    pipe = made(kind, transformer=transformer, vae=vae, scheduler=scheduler)
    return Tiny(pipe, embeds(5, EMBED, num_frames=8, **SMALL))


@member
def hunyuan_video() -> Tiny:
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=1, patch_size_t=1,
        text_embed_dim=EMBED, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8,) * 4,
        layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip
    scheduler = FLOW(shift=7.0)
    kind = diffusers.HunyuanVideoPipeline
    pipe = made(kind, transformer=transformer, vae=vae, scheduler=scheduler)
    prompt = {
        "prompt_embeds": drawn(1, 5, EMBED),
        "prompt_attention_mask": torch.ones(1, 5),
        "pooled_prompt_embeds": drawn(1, 8),
    }
    return Tiny(pipe, {**prompt, "num_frames": 5, **SMALL})


@member
def animatediff() -> Tiny:
    unet = make_unet(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    adapter = diffusers.MotionAdapter(
        block_out_channels=(16, 32), motion_layers_per_block=1, motion_norm_num_groups=2,
        motion_num_attention_heads=2,
    )  # fmt: skip
    pipe = made(
        diffusers.AnimateDiffPipeline, unet=unet, vae=make_vae(), motion_adapter=adapter,
        scheduler=ddim(),
    )  # fmt: skip
    return Tiny(pipe, embeds(5, EMBED, num_frames=3, **SMALL))


@member
def stable_video_diffusion() -> Tiny:
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, in_channels=8,
        out_channels=4, cross_attention_dim=EMBED, num_attention_heads=(2, 4),
        projection_class_embeddings_input_dim=24, addition_time_embed_dim=8,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        prediction_type="v_prediction", sigma_max=700.0, sigma_min=0.002,
        timestep_spacing="leading", timestep_type="continuous", use_karras_sigmas=True,
    )  # fmt: skip
    pipe = made(
        diffusers.StableVideoDiffusionPipeline, unet=unet, vae=vae, scheduler=scheduler,
        **image_encoder(EMBED),
    )  # fmt: skip
    return Tiny(pipe, {"image": picture(), "num_frames": 2, **SMALL})


@member
def latte() -> Tiny:
    transformer = diffusers.LatteTransformer3DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2,
        caption_channels=EMBED, in_channels=4, out_channels=8, cross_attention_dim=16,
        attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, video_length=2,
    )  # fmt: skip
    pipe = made(diffusers.LattePipeline, transformer=transformer, vae=make_vae(), scheduler=ddim())
    return Tiny(pipe, embeds(5, EMBED, video_length=2, negative_prompt=None, **SMALL))


@member
def mochi() -> Tiny:
    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        pooled_projection_dim=16, in_channels=12, text_embed_dim=EMBED, time_embed_dim=4,
        max_sequence_length=5,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12, encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
    )  # fmt: skip
    scheduler = FLOW(invert_sigmas=True)
    pipe = made(diffusers.MochiPipeline, transformer=transformer, vae=vae, scheduler=scheduler)
    return Tiny(pipe, masked(5, EMBED, num_frames=7, **SMALL))
