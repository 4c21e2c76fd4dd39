"""Tiny denoisers of sound."""

from zoo.shapes import HEADS

CONFIGS = {
    "StableAudioDiTModel": HEADS | {
        "sample_size": 8, "in_channels": 4, "num_layers": 2, "num_key_value_attention_heads": 1,
        "out_channels": 4, "cross_attention_dim": 8, "time_proj_dim": 8,
        "global_states_input_dim": 8, "cross_attention_input_dim": 8,
    },
    "UNet1DModel": {
        "sample_size": 32, "in_channels": 2, "out_channels": 2, "extra_in_channels": 16,
        "time_embedding_dim": 16, "layers_per_block": 1, "block_out_channels": (32, 32, 64),
    },
    "T5FilmDecoder": {
        "input_dims": 4, "targets_length": 8, "d_model": 16, "num_layers": 2, "num_heads": 2,
        "d_kv": 8, "d_ff": 16,
    },
    "AceStepTransformer1DModel": {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "in_channels": 12,
        "audio_acoustic_hidden_dim": 4, "sliding_window": 4,
    },
    "LongCatAudioDiTTransformer": {
        "dit_dim": 16, "dit_depth": 2, "dit_heads": 2, "dit_text_dim": 8, "latent_dim": 4,
    },
    "MiniMaxMusic3Transformer1DModel": HEADS | {
        "in_channels": 4, "condition_dim": 8, "num_layers": 2, "ff_inner_dim": 16,
        "rotary_dim": 4, "fourier_embedding_dim": 8,
    },
    "StableAudio3DiTModel": {
        "io_channels": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "cond_token_dim": 8,
        "global_cond_dim": 8, "local_add_cond_dim": 5, "timestep_features_dim": 8,
        "num_memory_tokens": 3,
    },
}  # fmt: skip
