"""Transformers whose sample is a sequence of patches with ids of their places."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("FluxTransformer2DModel", size=64, words=512, batch=1, at="1024 px")
def flux(c: Any, d: Draw) -> dict[str, Any]:
    """Flux: patches of two by two latents, a pooled text, perhaps guidance as a number."""
    axes = len(c.axes_dims_rope)
    guidance = {"guidance": d.time(3.5)} if c.guidance_embeds else {}
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "pooled_projections": d.vector(c.pooled_projection_dim),
        "timestep": d.time(),
        "img_ids": d.grid(*d.pixels, axes=axes),
        "txt_ids": d.no_ids(d.words, axes),
        **guidance,
    }


@calls("Flux2Transformer2DModel", size=64, words=512, batch=1, at="1024 px")
def flux2(c: Any, d: Draw) -> dict[str, Any]:
    """Flux 2: ids of time, height, width and word."""
    guidance = {"guidance": d.time(4)} if c.guidance_embeds else {}
    ids = d.grid(*d.pixels, 1, axes=4)
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(),
        "img_ids": ids.expand(d.batch, -1, -1),
        "txt_ids": d.grid(d.words, axes=4).expand(d.batch, -1, -1),
        **guidance,
    }


@calls("ChromaTransformer2DModel", size=64, words=512, batch=1, at="1024 px")
def chroma(c: Any, d: Draw) -> dict[str, Any]:
    """Chroma: Flux with a mask over text and image in place of the pooled text."""
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(),
        "img_ids": d.grid(*d.pixels),
        "txt_ids": d.no_ids(d.words),
        "attention_mask": d.mask(d.words + d.height * d.width, torch.bool),
    }


@calls("QwenImageTransformer2DModel", size=64, words=256, batch=1, at="1024 px")
def qwen_image(c: Any, d: Draw) -> dict[str, Any]:
    """Qwen-Image: places follow from shapes."""
    guidance = {"guidance": d.time(1)} if c.guidance_embeds else {}
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "encoder_hidden_states_mask": d.mask(),
        "timestep": d.time(),
        "img_shapes": [[(1, *d.pixels)]] * d.batch,
        **guidance,
    }


@calls("PriorTransformer", size=1, words=77, at="one image embedding")
def prior(c: Any, d: Draw) -> dict[str, Any]:
    """unCLIP's and Kandinsky's prior: the sample is an embedding."""
    return {
        "hidden_states": d.vector(c.embedding_dim),
        "timestep": d.step(),
        "proj_embedding": d.vector(c.embedding_proj_dim or c.embedding_dim),
        "encoder_hidden_states": d.tokens(c.num_embeddings, c.embedding_dim),
        "attention_mask": d.mask(c.num_embeddings, torch.bool),
    }
