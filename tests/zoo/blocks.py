"""Tiny models that are parts of a U-Net."""

from zoo.shapes import HEADS

CONFIGS = {
    "Transformer2DModel": HEADS | {
        "in_channels": 8, "num_layers": 2, "norm_num_groups": 4, "cross_attention_dim": 8,
    },
    "DreamLiteTransformer2DModel": HEADS | {
        "in_channels": 8, "num_layers": 2, "norm_num_groups": 4, "cross_attention_dim": 8,
    },
    "TransformerTemporalModel": HEADS | {
        "in_channels": 8, "num_layers": 2, "norm_num_groups": 4,
    },
}  # fmt: skip
