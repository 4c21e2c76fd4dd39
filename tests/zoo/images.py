"""Tiny transformers whose sample is an image."""

from zoo.shapes import AXES, FLUX, HEADS

CONFIGS = {
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
    "HunyuanDiT2DModel": HEADS | {
        "sample_size": 8, "in_channels": 4, "patch_size": 2, "hidden_size": 16, "num_layers": 4,
        "cross_attention_dim": 8, "cross_attention_dim_t5": 8, "pooled_projection_dim": 8,
        "text_len": 5, "text_len_t5": 6,
    },
    "LuminaNextDiT2DModel": {
        "sample_size": 8, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2,
        "num_kv_heads": 1, "multiple_of": 4, "cross_attention_dim": 8,
    },
    "PRXTransformer2DModel": {
        "in_channels": 4, "context_in_dim": 8, "hidden_size": 16, "num_heads": 2, "depth": 2,
        "axes_dim": (4, 4),
    },
    "OmniGenTransformer2DModel": {
        "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2,
        "intermediate_size": 16, "num_layers": 2, "pad_token_id": 0, "vocab_size": 10,
        "pos_embed_max_size": 8, "time_step_dim": 8,
        "rope_scaling": {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4},
    },
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2, "in_channels": 4, "num_layers": 2, "num_single_layers": 2,
        "attention_head_dim": 8, "num_attention_heads": 2, "caption_channels": [8, 8],
        "text_emb_dim": 8, "axes_dims_rope": (4, 2, 2), "max_resolution": (8, 8),
        "llama_layers": [0, 1, 1, 1],
    },
    "GlmImageTransformer2DModel": HEADS | {
        "in_channels": 4, "out_channels": 4, "num_layers": 2, "text_embed_dim": 8,
        "time_embed_dim": 8, "condition_dim": 4, "prior_vq_quantizer_codebook_size": 10,
    },
    "ErnieImageTransformer2DModel": {
        "hidden_size": 16, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 16,
        "in_channels": 4, "out_channels": 4, "text_in_dim": 8, "rope_axes_dim": AXES,
    },
    "HunyuanImageTransformer2DModel": FLUX | {
        "out_channels": 4, "num_refiner_layers": 2, "text_embed_dim": 8, "text_embed_2_dim": 8,
        "rope_axes_dim": (4, 4), "guidance_embeds": True,
    },
    "BriaFibo2Transformer2DModel": {
        "in_channels": 4, "dim": 32, "n_layers": 3, "n_refiner_layers": 2, "n_heads": 4,
        "cap_feat_dim": 8, "injection_layer_ids": (1,), "min_num_gist_tokens": 2,
        "max_num_gist_tokens": 4, "gist_step": 1, "gist_min_text_len": 2,
        "gist_max_text_len": 8, "axes_dims": AXES, "axes_lens": (16, 16, 16),
    },
}  # fmt: skip
