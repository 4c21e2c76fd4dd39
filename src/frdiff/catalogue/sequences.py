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


@calls("BriaTransformer2DModel", size=64, words=128, at="1024 px")
def bria(c: Any, d: Draw) -> dict[str, Any]:
    """Bria 3.2."""
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(500),
        "img_ids": d.grid(*d.pixels),
        "txt_ids": d.no_ids(d.words),
    }


@calls("BriaFiboTransformer2DModel", size=64, words=1024, at="1024 px")
def bria_fibo(c: Any, d: Draw) -> dict[str, Any]:
    """FIBO: the text of one layer of its encoder for each block."""
    blocks = c.num_layers + c.num_single_layers
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "text_encoder_layers": [d.text(c.text_encoder_dim) for _ in range(blocks)],
        "timestep": d.time(500),
        "img_ids": d.grid(*d.pixels),
        "txt_ids": d.no_ids(d.words),
    }


@calls("Flux3Transformer2DModel", size=64, words=512, batch=1, at="1024 px")
def flux3(c: Any, d: Draw) -> dict[str, Any]:
    """Flux 3: ids of time, height, width and word."""
    target = {"target_timestep": d.time(0.4)} if c.flow_map else {}
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(),
        "img_ids": d.grid(*d.pixels, 1, axes=4),
        "txt_ids": d.grid(d.words, axes=4),
        **target,
    }


@calls("LongCatImageTransformer2DModel", size=64, words=512, batch=1, at="1024 px")
@calls("OvisImageTransformer2DModel", size=64, words=256, batch=1, at="1024 px")
def flux_without_pooled(c: Any, d: Draw) -> dict[str, Any]:
    """LongCat-Image and Ovis-Image: Flux without the pooled text."""
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "timestep": d.time(),
        "img_ids": d.grid(*d.pixels),
        "txt_ids": d.no_ids(d.words),
    }


@calls("NucleusMoEImageTransformer2DModel", size=64, words=256, batch=1, at="1024 px")
def nucleus(c: Any, d: Draw) -> dict[str, Any]:
    """Nucleus-MoE-Image: as Qwen-Image, some experts for each token."""
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "img_shapes": [(1, *d.pixels)] * d.batch,
        "encoder_hidden_states": d.text(c.joint_attention_dim),
        "encoder_hidden_states_mask": d.mask(dtype=torch.bool),
        "timestep": d.time(),
    }


@calls("QwenImage21Transformer2DModel", size=64, words=256, batch=1, at="1024 px")
def qwen_image21(c: Any, d: Draw) -> dict[str, Any]:
    """Qwen-Image 2.1: text and picture in one sequence; a word stands for two by two patches."""
    patches = d.height * d.width
    slots = d.words + patches // 4
    places = torch.arange(slots, device=d.device).expand(d.batch, -1)
    return {
        "hidden_states": d.tokens(patches, c.in_channels),
        "encoder_hidden_states": d.text(c.context_in_dim),
        "timestep": d.time(),
        "img_shapes": [[(1, *d.pixels)]] * d.batch,
        "img_mask": places >= d.words,
    }


@calls("Krea2Transformer2DModel", size=64, words=256, at="1024 px")
def krea2(c: Any, d: Draw) -> dict[str, Any]:
    """Krea 2: the text of several layers of its encoder."""
    ids = torch.cat([d.no_ids(d.words), d.grid(*d.pixels)])
    return {
        "hidden_states": d.tokens(d.height * d.width, c.in_channels),
        "encoder_hidden_states": d.normal(d.batch, d.words, c.num_text_layers, c.text_hidden_dim),
        "timestep": d.time(),
        "position_ids": ids,
        "encoder_attention_mask": d.mask(dtype=torch.bool),
    }


@calls("Ideogram4Transformer2DModel", size=64, words=256, batch=1, at="1024 px")
def ideogram4(c: Any, d: Draw) -> dict[str, Any]:
    """Ideogram 4: one sequence of words (3) and patches (2), each with zeros for the other."""
    patches = d.height * d.width
    ids = torch.cat([d.grid(d.words), d.grid(*d.pixels)]).long()
    kinds = [3] * d.words + [2] * patches
    return {
        "hidden_states": d.tokens(d.words + patches, c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": d.tokens(d.words + patches, c.llm_features_dim),
        "position_ids": ids.expand(d.batch, -1, -1),
        "segment_ids": d.mask(d.words + patches),
        "indicator": d.each(*kinds, dtype=torch.long),
    }


@calls("JoyImageEditPlusTransformer3DModel", size=128, words=256, batch=1, at="1024 px")
def joy_edit_plus(c: Any, d: Draw) -> dict[str, Any]:
    """JoyImage-Edit-Plus: patches of the target and of one reference, in one sequence."""
    time, height, width = c.patch_size
    shape = (1, d.height // height, d.width // width)
    patches = 2 * shape[1] * shape[2]
    return {
        "hidden_states": d.normal(d.batch, patches, c.in_channels, time, height, width),
        "timestep": d.time(500),
        "encoder_hidden_states": d.text(c.text_dim),
        "encoder_hidden_states_mask": d.mask(),
        "shape_list": [[shape, shape]] * d.batch,
    }


@calls("JoyImageEditTransformer3DModel", size=128, frames=2, words=256, at="1024 px")
def joy_edit(c: Any, d: Draw) -> dict[str, Any]:
    """JoyImage-Edit: the target and the picture to edit as frames."""
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.time(500),
        "encoder_hidden_states": d.text(c.text_dim),
    }
