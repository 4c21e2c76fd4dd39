"""Tiny transformers of videos."""

from zoo.shapes import AXES, FLUX, HEADS

WAN = HEADS | {
    "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 16,
    "ffn_dim": 16, "num_layers": 2,
}  # fmt: skip

CONFIGS = {
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
}  # fmt: skip
