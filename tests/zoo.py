"""A tiny model of every denoiser class of diffusers, with two or more of each kind of block."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import torch
from torch import nn

from frdiff.catalogue import example_call

# Two levels each: what is between the outermost and the innermost adds nothing new.
UNET = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
FLUX = HEADS | {"num_layers": 2, "num_single_layers": 2, "in_channels": 4}
AXES = (2, 2, 4)
WAN = HEADS | {
    "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 16,
    "ffn_dim": 16, "num_layers": 2,
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "UNet2DModel": UNET | {
        "sample_size": 8, "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "UNet2DConditionModel": UNET | {
        "sample_size": 8, "cross_attention_dim": 8, "attention_head_dim": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "UNet3DConditionModel": UNET | {
        "sample_size": 8, "cross_attention_dim": 8, "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    },
    "UNetMotionModel": UNET | {
        "sample_size": 8, "cross_attention_dim": 8, "num_attention_heads": 2,
        "motion_num_attention_heads": 2, "motion_max_seq_length": 8,
        "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
        "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
    },
    "UNetSpatioTemporalConditionModel": {
        "sample_size": 8, "cross_attention_dim": 8, "num_attention_heads": (2, 4),
        "layers_per_block": 1, "block_out_channels": (32, 64), "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24,
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    },
    "DiTTransformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 2, "in_channels": 4, "out_channels": 8,
        "num_embeds_ada_norm": 10,
    },
    "PixArtTransformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 2, "cross_attention_dim": 16, "caption_channels": 8,
        "use_additional_conditions": False,
    },
    "SD3Transformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 3, "in_channels": 4, "out_channels": 4,
        "joint_attention_dim": 8, "caption_projection_dim": 16, "pooled_projection_dim": 8,
        "pos_embed_max_size": 8, "dual_attention_layers": (0,), "qk_norm": "rms_norm",
    },
    "AuraFlowTransformer2DModel": HEADS | {
        "sample_size": 8, "num_mmdit_layers": 2, "num_single_dit_layers": 2,
        "joint_attention_dim": 8, "caption_projection_dim": 16, "pos_embed_max_size": 16,
    },
    "SanaTransformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 2, "in_channels": 4, "out_channels": 4,
        "num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "cross_attention_dim": 16,
        "caption_channels": 8,
    },
    "CogView3PlusTransformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 2, "in_channels": 4, "out_channels": 4,
        "text_embed_dim": 8, "time_embed_dim": 8, "condition_dim": 4, "pos_embed_max_size": 8,
    },
    "CogView4Transformer2DModel": HEADS | {
        "sample_size": 8, "num_layers": 2, "in_channels": 4, "out_channels": 4,
        "text_embed_dim": 8, "time_embed_dim": 8, "condition_dim": 4, "pos_embed_max_size": 8,
        "rope_axes_dim": (16, 16),
    },
    "Lumina2Transformer2DModel": {
        "sample_size": 8, "in_channels": 4, "hidden_size": 24, "num_layers": 2,
        "num_refiner_layers": 2, "num_attention_heads": 2, "num_kv_heads": 1, "multiple_of": 4,
        "axes_dim_rope": (4, 4, 4), "axes_lens": (16, 16, 16), "cap_feat_dim": 8,
    },
    "ZImageTransformer2DModel": {
        "in_channels": 4, "dim": 16, "n_layers": 2, "n_refiner_layers": 2, "n_heads": 2,
        "n_kv_heads": 2, "cap_feat_dim": 8, "axes_dims": AXES, "axes_lens": (64, 16, 16),
    },
    "FluxTransformer2DModel": FLUX | {
        "joint_attention_dim": 8, "pooled_projection_dim": 8, "axes_dims_rope": AXES,
        "guidance_embeds": True,
    },
    "Flux2Transformer2DModel": FLUX | {
        "joint_attention_dim": 8, "timestep_guidance_channels": 8, "axes_dims_rope": (2, 2, 2, 2),
    },
    "ChromaTransformer2DModel": FLUX | {
        "joint_attention_dim": 8, "axes_dims_rope": AXES, "approximator_num_channels": 8,
        "approximator_hidden_dim": 8, "approximator_layers": 2,
    },
    "QwenImageTransformer2DModel": HEADS | {
        "num_layers": 2, "in_channels": 4, "out_channels": 1, "joint_attention_dim": 8,
        "axes_dims_rope": AXES,
    },
    "PriorTransformer": HEADS | {
        "num_layers": 2, "embedding_dim": 8, "num_embeddings": 5,
    },
    "WanTransformer3DModel": WAN | {"image_dim": 8, "added_kv_proj_dim": 24},
    "HunyuanVideoTransformer3DModel": FLUX | {
        "out_channels": 4, "num_refiner_layers": 2, "text_embed_dim": 8,
        "pooled_projection_dim": 8, "rope_axes_dim": AXES,
    },
    "LTXVideoTransformer3DModel": HEADS | {
        "in_channels": 4, "out_channels": 4, "cross_attention_dim": 16, "num_layers": 2,
        "caption_channels": 8,
    },
    "CogVideoXTransformer3DModel": HEADS | {
        "in_channels": 4, "out_channels": 4, "time_embed_dim": 8, "text_embed_dim": 8,
        "num_layers": 2, "sample_width": 8, "sample_height": 8, "sample_frames": 9,
        "max_text_seq_length": 5, "use_rotary_positional_embeddings": True,
    },
    "MochiTransformer3DModel": HEADS | {
        "num_layers": 2, "in_channels": 4, "pooled_projection_dim": 8, "text_embed_dim": 8,
        "time_embed_dim": 4, "max_sequence_length": 5,
    },
    "StableAudioDiTModel": HEADS | {
        "sample_size": 8, "in_channels": 4, "num_layers": 2, "num_key_value_attention_heads": 1,
        "out_channels": 4, "cross_attention_dim": 8, "time_proj_dim": 8,
        "global_states_input_dim": 8, "cross_attention_input_dim": 8,
    },
}  # fmt: skip

# Where 8 by 8 latents, 3 frames and 5 words are not what a class can take.
SIZES: dict[str, dict[str, Any]] = {}


def make_denoiser(name: str, seed: int = 0) -> nn.Module:
    """The tiny model of a class, in eval mode."""
    torch.manual_seed(seed)
    model = getattr(diffusers, name)(**CONFIGS[name]).eval()
    # Fresh gates and outputs are often zero; with some life, what the blocks do is seen.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def tiny_call(name: str, model: nn.Module, batch: int = 1, **size: Any) -> dict[str, Any]:
    """The arguments of a small call of `make_denoiser`'s model."""
    small = {"size": 8, "frames": 3, "words": 5, "batch": batch} | SIZES.get(name, {})
    return example_call(model, **(small | size))


DENOISERS: dict[str, Callable[[], nn.Module]] = {
    name: partial(make_denoiser, name) for name in CONFIGS
}
