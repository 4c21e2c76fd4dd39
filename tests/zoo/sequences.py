"""Tiny transformers whose sample is a sequence of patches."""

from zoo.shapes import AXES, FLUX, HEADS

CONFIGS = {
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
    "BriaTransformer2DModel": FLUX | {"joint_attention_dim": 8, "axes_dims_rope": [2, 2, 4]},
    "BriaFiboTransformer2DModel": FLUX | {
        "joint_attention_dim": 8, "text_encoder_dim": 8, "axes_dims_rope": [2, 2, 4],
    },
    "Flux3Transformer2DModel": FLUX | {
        "cond_in_channels": 4, "joint_attention_dim": 8, "timestep_channels": 8,
        "axes_dims_rope": (2, 2, 2, 2),
    },
    "LongCatImageTransformer2DModel": FLUX | {
        "joint_attention_dim": 8, "pooled_projection_dim": 8, "axes_dims_rope": [2, 2, 4],
    },
    "OvisImageTransformer2DModel": FLUX | {
        "out_channels": 4, "joint_attention_dim": 8, "axes_dims_rope": AXES,
    },
    "NucleusMoEImageTransformer2DModel": {
        "num_attention_heads": 4, "attention_head_dim": 16,
        "num_layers": 3, "in_channels": 4, "out_channels": 1, "num_key_value_heads": 1,
        "joint_attention_dim": 8, "axes_dims_rope": (4, 4, 8), "num_experts": 4,
        "moe_intermediate_dim": 8, "capacity_factors": [0.0, 2.0, 2.0],
        "dense_moe_strategy": "leave_first_block_dense",
    },
    "QwenImage21Transformer2DModel": HEADS | {
        "in_channels": 4, "out_channels": 4, "num_layers": 2, "context_in_dim": 8,
        "axes_dims_rope": AXES,
    },
    "Krea2Transformer2DModel": HEADS | {
        "in_channels": 4, "num_layers": 2, "num_key_value_heads": 1, "intermediate_size": 16,
        "timestep_embed_dim": 8, "text_hidden_dim": 8, "num_text_layers": 3,
        "text_num_attention_heads": 2, "text_num_key_value_heads": 1,
        "text_intermediate_size": 8, "axes_dims_rope": AXES,
    },
    "Ideogram4Transformer2DModel": HEADS | {
        "in_channels": 4, "num_layers": 2, "intermediate_size": 16, "adaln_dim": 8,
        "llm_features_dim": 8, "mrope_section": (2, 1, 1),
    },
    "JoyImageEditPlusTransformer3DModel": {
        "in_channels": 4, "hidden_size": 16, "num_attention_heads": 2, "text_dim": 8,
        "num_layers": 2, "rope_dim_list": [2, 2, 4],
    },
    "JoyImageEditTransformer3DModel": {
        "in_channels": 4, "hidden_size": 16, "num_attention_heads": 2, "text_dim": 8,
        "num_layers": 2, "rope_dim_list": [2, 2, 4],
    },
}  # fmt: skip
