"""Denoisers of sound."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("StableAudioDiTModel", words=130, at="47 seconds")
def stable_audio(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Audio Open: text and seconds as words, one global word in front."""
    return {
        "hidden_states": d.normal(d.batch, c.in_channels, d.height),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.cross_attention_input_dim),
        "global_hidden_states": d.tokens(1, c.global_states_input_dim),
        "rotary_embedding": d.rotary(d.height + 1, c.attention_head_dim // 2),
    }


@calls("UNet1DModel", batch=1, at="65536 samples")
def sound_unet(c: Any, d: Draw) -> dict[str, Any]:
    """Dance Diffusion and planners: waves or paths."""
    return {
        "sample": d.normal(d.batch, c.in_channels, d.height),
        "timestep": d.step(),
    }


@calls("T5FilmDecoder", size=256, words=2048, batch=1, at="5 seconds")
def spectrogram(c: Any, d: Draw) -> dict[str, Any]:
    """Spectrogram Diffusion: notes and the previous spectrogram are encoded."""
    return {
        "decoder_input_tokens": d.tokens(c.targets_length, c.input_dims),
        "encodings_and_masks": [
            (d.text(c.d_model), d.mask(dtype=d.dtype)),
            (d.tokens(c.targets_length, c.d_model), d.mask(c.targets_length, d.dtype)),
        ],
        "decoder_noise_time": d.time(),
    }


@calls("AceStepTransformer1DModel", size=1500, words=256, at="60 seconds")
def ace_step(c: Any, d: Draw) -> dict[str, Any]:
    """ACE-Step 1.5: the noisy sound beside what is known of it."""
    return {
        "hidden_states": d.tokens(d.height, c.audio_acoustic_hidden_dim),
        "timestep": d.time(),
        "timestep_r": d.time(),
        "encoder_hidden_states": d.text(c.encoder_hidden_size or c.hidden_size),
        "context_latents": d.tokens(d.height, c.in_channels - c.audio_acoustic_hidden_dim),
    }


@calls("LongCatAudioDiTTransformer", size=234, words=128, batch=1, at="20 seconds")
def longcat_audio(c: Any, d: Draw) -> dict[str, Any]:
    """LongCat-AudioDiT: speech, perhaps in the voice of a sample."""
    known = {"latent_cond": d.tokens(d.height, c.latent_dim)} if c.use_latent_condition else {}
    return {
        "hidden_states": d.tokens(d.height, c.latent_dim),
        "encoder_hidden_states": d.text(c.dit_text_dim),
        "encoder_attention_mask": d.mask(dtype=torch.bool),
        "timestep": d.time(),
        "attention_mask": d.mask(d.height, torch.bool),
        **known,
    }


@calls("MiniMaxMusic3Transformer1DModel", size=750, at="750 latents")
def minimax_music(c: Any, d: Draw) -> dict[str, Any]:
    """MiniMax Music 3: codes of the sound, embedded, at the rate of the latents."""
    return {
        "hidden_states": d.normal(d.batch, c.in_channels, d.height),
        "timestep": d.time(),
        "encoder_hidden_states": d.tokens(d.height, c.condition_dim),
    }


@calls("StableAudio3DiTModel", size=512, words=256, batch=1, at="47 seconds")
def stable_audio3(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Audio 3: what is known of the sound enters at each place."""
    known = {}
    if c.local_add_cond_dim and c.patch_size == 1:
        known["local_add_cond"] = d.normal(d.batch, c.local_add_cond_dim, d.height)
    return {
        "hidden_states": d.normal(d.batch, c.io_channels, d.height),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.cond_token_dim),
        "global_hidden_states": d.vector(c.global_cond_dim),
        "encoder_attention_mask": d.mask(dtype=torch.bool),
        **known,
    }
