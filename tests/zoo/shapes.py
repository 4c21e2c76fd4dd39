"""What tiny transformers have in common."""

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
FLUX = HEADS | {"num_layers": 2, "num_single_layers": 2, "in_channels": 4}
AXES = (2, 2, 4)
