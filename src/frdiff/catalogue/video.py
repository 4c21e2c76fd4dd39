"""Transformers of videos."""

from typing import Any

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls

WAN = {"size": (60, 104), "frames": 21, "words": 512, "batch": 1, "at": "832x480 px, 81 frames"}


@calls("WanTransformer3DModel", **WAN)
def wan(c: Any, d: Draw) -> dict[str, Any]:
    """Wan, from text, or from an image where the configuration has an image encoder."""
    images = {"encoder_hidden_states_image": d.tokens(257, c.image_dim)} if c.image_dim else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_dim),
        **images,
    }


@calls(
    "HunyuanVideoTransformer3DModel", size=(90, 160), frames=33, words=256, batch=1,
    at="1280x720 px, 129 frames",
)  # fmt: skip
def hunyuan_video(c: Any, d: Draw) -> dict[str, Any]:
    """HunyuanVideo."""
    guidance = {"guidance": d.time(6000)} if c.guidance_embeds else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "encoder_attention_mask": d.mask(),
        "pooled_projections": d.vector(c.pooled_projection_dim),
        **guidance,
    }


@calls(
    "LTXVideoTransformer3DModel", size=(16, 24), frames=21, words=128, at="768x512 px, 161 frames"
)
def ltx(c: Any, d: Draw) -> dict[str, Any]:
    """LTX-Video: a sequence of 32 times smaller latents."""
    return {
        "hidden_states": d.tokens(d.frames * d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels),
        "timestep": d.step(),
        "encoder_attention_mask": d.mask(),
        "num_frames": d.frames,
        "height": d.height,
        "width": d.width,
        "rope_interpolation_scale": (8 / 25, 32, 32),
    }


@calls("CogVideoXTransformer3DModel", size=(60, 90), frames=13, at="720x480 px, 49 frames")
def cogvideox(c: Any, d: Draw) -> dict[str, Any]:
    """CogVideoX; its larger model takes rotary embeddings of the patches."""
    rotary = {}
    if c.use_rotary_positional_embeddings:
        patches = d.frames * d.height * d.width // c.patch_size**2 // (c.patch_size_t or 1)
        rotary["image_rotary_emb"] = d.rotary(patches, c.attention_head_dim)
    return {
        "hidden_states": d.normal(d.batch, d.frames, c.in_channels, *d.pixels),
        "encoder_hidden_states": d.tokens(c.max_text_seq_length, c.text_embed_dim),
        "timestep": d.step(),
        **rotary,
    }


@calls("MochiTransformer3DModel", size=(60, 106), frames=4, words=256, at="848x480 px, 19 frames")
def mochi(c: Any, d: Draw) -> dict[str, Any]:
    """Mochi."""
    return {
        "hidden_states": d.video(c.in_channels),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "timestep": d.time(500),
        "encoder_attention_mask": d.mask().bool(),
    }
