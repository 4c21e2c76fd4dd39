"""Tiny U-Nets."""

# Two levels each: what is between the outermost and the innermost adds nothing new.
UNET = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}

CONFIGS = {
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
    "UNetControlNetXSModel": {
        "sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 8, "num_attention_heads": 2, "ctrl_block_out_channels": (4, 8),
        "ctrl_conditioning_embedding_out_channels": (4, 4, 4, 4), "ctrl_num_attention_heads": 2,
        "ctrl_max_norm_num_groups": 2,
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
    "DreamLiteUNetModel": UNET | {
        "sample_size": 8, "cross_attention_dim": 8, "attention_head_dim": 2,
        "down_block_types": (
            "DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D",
        ),
        "up_block_types": ("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
    },
    "I2VGenXLUNet": UNET | {
        "sample_size": 8, "cross_attention_dim": 8, "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    },
    "Kandinsky3UNet": {
        "time_embedding_dim": 8, "groups": 4, "attention_head_dim": 4, "layers_per_block": 2,
        "block_out_channels": (8, 16), "cross_attention_dim": 8, "encoder_hid_dim": 8,
    },
    "StableCascadeUNet": {
        "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8,
        "conditioning_dim": 8, "block_out_channels": (8, 16), "num_attention_heads": (2, 2),
        "down_num_layers_per_block": (1, 2), "up_num_layers_per_block": (2, 1),
        "clip_text_in_channels": 8, "clip_text_pooled_in_channels": 8,
        "clip_image_in_channels": 8, "clip_seq": 2, "switch_level": (True,),
    },
    "UVit2DModel": {
        "hidden_size": 16, "cond_embed_dim": 8, "micro_cond_encode_dim": 4,
        "micro_cond_embed_dim": 20, "encoder_hidden_size": 8, "vocab_size": 12,
        "codebook_size": 10, "in_channels": 8, "block_out_channels": 8, "num_res_blocks": 2,
        "block_num_heads": 2, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "sample_size": 8,
    },
}  # fmt: skip
