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
    "ChronoEditTransformer3DModel": WAN | {
        "image_dim": 8, "added_kv_proj_dim": 24, "rope_temporal_skip_len": 2,
    },
    "SkyReelsV2Transformer3DModel": WAN | {
        "image_dim": 8, "added_kv_proj_dim": 24, "inject_sample_info": True,
    },
    "WanVACETransformer3DModel": WAN | {
        "num_layers": 4, "vace_layers": [0, 2], "vace_in_channels": 8,
    },
    "WanAnimateTransformer3DModel": WAN | {
        "in_channels": 12, "latent_channels": 4, "image_dim": 8, "added_kv_proj_dim": 24,
        "motion_encoder_channel_sizes": {"4": 4, "8": 4, "16": 4}, "motion_encoder_size": 16,
        "motion_style_dim": 8, "motion_dim": 4, "motion_encoder_dim": 8,
        "face_encoder_hidden_dim": 8, "face_encoder_num_heads": 2,
        "inject_face_latents_blocks": 2, "num_layers": 4,
    },
    "AnyFlowTransformer3DModel": WAN,
    "MotifVideoTransformer3DModel": FLUX | {
        "out_channels": 4, "num_decoder_layers": 1, "num_single_layers": 3,
        "text_embed_dim": 8, "image_embed_dim": 8, "rope_axes_dim": AXES,
    },
    "HunyuanVideo15Transformer3DModel": HEADS | {
        "in_channels": 9, "out_channels": 4, "num_layers": 2, "num_refiner_layers": 2,
        "text_embed_dim": 8, "text_embed_2_dim": 8, "image_embed_dim": 8,
        "rope_axes_dim": AXES,
    },
    "ConsisIDTransformer3DModel": HEADS | {
        "num_attention_heads": 3, "in_channels": 4, "out_channels": 4, "time_embed_dim": 8,
        "text_embed_dim": 8,
        "num_layers": 4, "sample_width": 8, "sample_height": 8, "sample_frames": 9,
        "max_text_seq_length": 5, "use_rotary_positional_embeddings": True,
        "is_train_face": True, "cross_attn_dim_head": 4, "cross_attn_num_heads": 2,
        "LFE_id_dim": 8, "LFE_vit_dim": 8, "LFE_depth": 2, "LFE_dim_head": 4,
        "LFE_num_heads": 2, "LFE_num_id_token": 2, "LFE_num_querie": 3, "LFE_output_dim": 16,
        "LFE_ff_mult": 1, "LFE_num_scale": 2,
    },
    "AllegroTransformer3DModel": HEADS | {
        "attention_head_dim": 12, "num_layers": 2, "cross_attention_dim": 24,
        "sample_height": 8, "sample_width": 8, "sample_frames": 3, "caption_channels": 8,
    },
    "LatteTransformer3DModel": HEADS | {
        "in_channels": 4, "out_channels": 8, "num_layers": 2, "cross_attention_dim": 16,
        "sample_size": 8, "patch_size": 2, "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False, "caption_channels": 8, "video_length": 3,
    },
    "EasyAnimateTransformer3DModel": HEADS | {
        "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "patch_size": 2,
        "num_layers": 3, "mmdit_layers": 2, "sample_width": 8, "sample_height": 8,
        "time_embed_dim": 8, "text_embed_dim": 8, "text_embed_dim_t5": 8,
    },
    "SanaVideoTransformer3DModel": HEADS | {
        "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "num_layers": 2,
        "num_cross_attention_heads": 2, "cross_attention_head_dim": 12,
        "cross_attention_dim": 24, "caption_channels": 8, "sample_size": 8,
    },
    "CosmosTransformer3DModel": HEADS | {
        "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "num_layers": 2,
        "text_embed_dim": 8, "adaln_lora_dim": 4, "max_size": (4, 8, 8),
        "concat_padding_mask": False,  # it needs torchvision
    },
    "Kandinsky5Transformer3DModel": {
        "in_text_dim": 8, "in_text_dim2": 8, "time_dim": 8, "model_dim": 16, "ff_dim": 16,
        "num_text_blocks": 2, "num_visual_blocks": 2, "axes_dims": AXES,
    },
    "Kandinsky6SRTransformer3DModel": {
        "in_visual_dim": 4, "out_visual_dim": 4, "time_dim": 8, "model_dim": 16, "ff_dim": 16,
        "num_visual_blocks": 2, "axes_dims": AXES,
    },
}  # fmt: skip
