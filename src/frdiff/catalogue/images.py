"""Transformers whose sample is an image of latents."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("DiTTransformer2DModel", batch=1, at="the configuration's size, DiT-XL/2 at 256 px")
def dit(c: Any, d: Draw) -> dict[str, Any]:
    """Classes of images."""
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.step(),
        "class_labels": d.integers(c.num_embeds_ada_norm, d.batch),
    }


@calls("PixArtTransformer2DModel", words=120, at="the configuration's size")
def pixart(c: Any, d: Draw) -> dict[str, Any]:
    """PixArt; at 1024 px the picture's size enters with time."""
    conditions = c.use_additional_conditions
    if conditions is None:
        conditions = c.sample_size == 128
    edge = 8.0 * d.height
    size = {"resolution": d.each(edge, edge), "aspect_ratio": d.each(1)} if conditions else {}
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels or c.cross_attention_dim),
        "timestep": d.step(),
        "added_cond_kwargs": size or {"resolution": None, "aspect_ratio": None},
        "encoder_attention_mask": d.mask(),
    }


@calls("SD3Transformer2DModel", words=333, at="1024 px, 77 + 256 words")
def sd3(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Diffusion 3."""
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "pooled_projections": d.vector(c.pooled_projection_dim),
        "timestep": d.time(500),
    }


@calls("AuraFlowTransformer2DModel", size=128, words=256, at="1024 px")
def aura_flow(c: Any, d: Draw) -> dict[str, Any]:
    """AuraFlow."""
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(),
    }


@calls("SanaTransformer2DModel", words=300, at="the configuration's size, 1024 px")
def sana(c: Any, d: Draw) -> dict[str, Any]:
    """Sana, on 32 times smaller latents."""
    guidance = {"guidance": d.time(4.5)} if c.guidance_embeds else {}
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels),
        "timestep": d.time(500),
        "encoder_attention_mask": d.mask(),
        **guidance,
    }


@calls("CogView3PlusTransformer2DModel", words=224, at="1024 px")
@calls("CogView4Transformer2DModel", words=224, batch=1, at="1024 px")
def cogview(c: Any, d: Draw) -> dict[str, Any]:
    """CogView 3 and 4, which are told the picture's size."""
    edge = 8.0 * d.height
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "timestep": d.step(),
        "original_size": d.each(edge, edge),
        "target_size": d.each(edge, edge),
        "crop_coords": d.each(0, 0),
    }


@calls("Lumina2Transformer2DModel", words=256, batch=1, at="1024 px")
def lumina2(c: Any, d: Draw) -> dict[str, Any]:
    """Lumina Image 2."""
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.cap_feat_dim),
        "encoder_attention_mask": d.mask(dtype=torch.bool),
    }


@calls("ZImageTransformer2DModel", size=128, words=128, at="1024 px")
def z_image(c: Any, d: Draw) -> dict[str, Any]:
    """Z-Image: a list of samples with one frame each, and a list of texts."""
    return {
        "x": list(d.normal(d.batch, c.in_channels, 1, *d.pixels)),
        "t": d.time(),
        "cap_feats": list(d.text(c.cap_feat_dim)),
    }
