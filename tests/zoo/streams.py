"""Tiny transformers of videos with sound, with what came before, or in one sequence with text."""

import math

from torch import nn
from torch.nn.attention.flex_attention import create_block_mask

from zoo.shapes import AXES, FLUX, HEADS
from zoo.video import WAN

LTX2 = HEADS | {
    "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 24,
    "audio_in_channels": 4, "audio_out_channels": 4, "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 6, "audio_cross_attention_dim": 12, "num_layers": 2,
    "caption_channels": 8, "rope_double_precision": False,
}  # fmt: skip

CONFIGS = {
    "LTX2VideoTransformer3DModel": LTX2,
    "SanaWMLTX2RefinerTransformer3DModel": LTX2,
    "Kandinsky6Transformer3DModel": {
        "in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": 8, "in_text_dim2": 8,
        "time_dim": 8, "model_dim": 16, "ff_dim": 16, "num_text_blocks": 2,
        "num_visual_blocks": 2, "axes_dims": AXES, "in_audio_dim": 4, "out_audio_dim": 4,
    },
    "MiniMaxH3Transformer3DModel": HEADS | {
        "attention_head_dim": 16, "hidden_size": 24, "num_layers": 2, "ffn_dim": 16,
        "in_channels": 4, "audio_in_channels": 6, "text_dim": 8, "freq_dim": 8,
        "time_embed_hidden_dim": 24, "time_embed_dim": 16, "rope_freq_dim": 2,
    },
    "Cosmos3OmniTransformer": {
        "dtype": "float32", "head_dim": 12, "hidden_size": 24, "intermediate_size": 16,
        "latent_channel": 4, "num_attention_heads": 2, "num_hidden_layers": 2,
        "num_key_value_heads": 1, "patch_latent_dim": 16, "vocab_size": 10,
        "rope_axes_dim": [2, 2, 2], "sound_gen": True, "sound_dim": 4,
    },
    "HeliosTransformer3DModel": WAN | {"rope_dim": (4, 4, 4)},
    "HunyuanVideoFramepackTransformer3DModel": FLUX | {
        "out_channels": 4, "num_refiner_layers": 2, "text_embed_dim": 8,
        "pooled_projection_dim": 8, "rope_axes_dim": AXES, "has_image_proj": True,
        "image_proj_dim": 8, "has_clean_x_embedder": True,
    },
    "AnyFlowFARTransformer3DModel": WAN,
    "WanAnimate2Transformer3DModel": {
        "text_len": 5, "in_dim": 12, "dim": 24, "ffn_dim": 16, "freq_dim": 8, "text_dim": 8,
        "out_dim": 4, "num_heads": 2, "num_layers": 2,
    },
    "SanaWMTransformer3DModel": {
        "in_channels": 4, "num_layers": 4, "hidden_size": 32, "num_attention_heads": 2,
        "softmax_every_n": 2, "linear_head_dim": 16, "chunk_plucker_channels": 6,
        "chunk_plucker_post_attn_blocks": 4, "caption_channels": 8, "mlp_ratio": 1.0,
    },
}  # fmt: skip


def with_block_mask(model: nn.Module, frames: int = 2, patches: int = 16) -> nn.Module:
    """Wan-Animate 2 with the mask it would compile: a frame sees all, and its own of the driver."""
    length = (frames + 1) * patches
    packed, driver = (math.ceil(n * patches / 128) * 128 for n in (frames + 1, frames))

    def sees(b, h, query, key):
        own = (key >= packed) & (key - packed < frames * patches)
        alike = query // patches == (key - packed) // patches + 1
        return (query < length) & ((key < length) | own & alike)

    model.block_masks[frames, patches] = create_block_mask(
        sees, None, None, packed, packed + driver, device=model.device
    )
    return model
