"""Transformers whose sample is an image of latents."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("DiTTransformer2DModel", batch=1, at="256 px")
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


@calls("SD3Transformer2DModel", words=333, at="1024 px")
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


@calls("SanaTransformer2DModel", words=300, at="1024 px")
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


@calls("HunyuanDiT2DModel", size=128, at="1024 px")
def hunyuan_dit(c: Any, d: Draw) -> dict[str, Any]:
    """HunyuanDiT: two texts, rotary embeddings of the patches, picture size and style."""
    patches = d.height * d.width // c.patch_size**2
    head = c.attention_head_dim
    more = {}
    if c.use_style_cond_and_image_meta_size:
        edge = 8.0 * d.height
        more["image_meta_size"] = d.each(edge, edge, edge, edge, 0, 0)
        more["style"] = d.integers(1, d.batch)
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(500),
        "encoder_hidden_states": d.tokens(c.text_len, c.cross_attention_dim),
        "text_embedding_mask": d.mask(c.text_len),
        "encoder_hidden_states_t5": d.tokens(c.text_len_t5, c.cross_attention_dim_t5),
        "text_embedding_mask_t5": d.mask(c.text_len_t5),
        "image_rotary_emb": d.rotary(patches, head),
        **more,
    }


@calls("LuminaNextDiT2DModel", words=256, at="1024 px")
def lumina(c: Any, d: Draw) -> dict[str, Any]:
    """Lumina-Next: rotary embeddings are complex."""
    patches = d.height // c.patch_size, d.width // c.patch_size
    angle = d.normal(*patches, c.hidden_size // c.num_attention_heads // 2).float()
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.cross_attention_dim),
        "encoder_mask": d.mask(),
        "image_rotary_emb": torch.polar(torch.ones_like(angle), angle),
        "cross_attention_kwargs": {},
    }


@calls("PRXTransformer2DModel", size=64, words=256, at="512 px")
def prx(c: Any, d: Draw) -> dict[str, Any]:
    """PRX."""
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.context_in_dim),
        "attention_mask": d.mask(dtype=torch.bool),
    }


@calls("OmniGenTransformer2DModel", size=128, words=77, at="1024 px")
def omnigen(c: Any, d: Draw) -> dict[str, Any]:
    """OmniGen: words as ids in front of the time and the picture, in one sequence."""
    length = d.words + 1 + d.height * d.width // c.patch_size**2
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(),
        "input_ids": d.integers(c.vocab_size, d.batch, d.words),
        "input_img_latents": [],
        "input_image_sizes": {},
        "attention_mask": d.mask(length).unsqueeze(1).expand(-1, length, -1),
        "position_ids": torch.arange(length, device=d.device).expand(d.batch, -1),
    }


@calls("HiDreamImageTransformer2DModel", size=128, words=128, at="1024 px")
def hidream(c: Any, d: Draw) -> dict[str, Any]:
    """HiDream-I1: a text of one encoder for each of the other's layers."""
    t5, llama = c.caption_channels
    layers = max(c.llama_layers) + 1
    return {
        "hidden_states": d.image(c.in_channels),
        "timesteps": d.step(),
        "encoder_hidden_states_t5": d.text(t5),
        "encoder_hidden_states_llama3": d.normal(layers, d.batch, d.words, llama),
        "pooled_embeds": d.vector(c.text_emb_dim),
    }


@calls("GlmImageTransformer2DModel", size=128, words=64, batch=1, at="1024 px")
def glm_image(c: Any, d: Draw) -> dict[str, Any]:
    """GLM-Image: a token of the prior for each patch."""
    patches = d.height * d.width // c.patch_size**2
    edge = 8.0 * d.height
    return {
        "hidden_states": d.image(c.in_channels),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "prior_token_id": d.integers(c.prior_vq_quantizer_codebook_size, d.batch, patches),
        "prior_token_drop": ~d.mask(patches, torch.bool),
        "timestep": d.step(),
        "target_size": d.each(edge, edge),
        "crop_coords": d.each(0, 0),
    }


@calls("ErnieImageTransformer2DModel", size=64, words=256, at="1024 px")
def ernie_image(c: Any, d: Draw) -> dict[str, Any]:
    """ERNIE-Image: texts with their lengths."""
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(500),
        "text_bth": d.text(c.text_in_dim),
        "text_lens": d.each(d.words, dtype=torch.long).flatten(),
    }


@calls("HunyuanImageTransformer2DModel", size=64, words=1000, batch=1, at="2048 px")
def hunyuan_image(c: Any, d: Draw) -> dict[str, Any]:
    """HunyuanImage 2.1, on 32 times smaller latents; perhaps with text that is to be drawn."""
    more = {}
    if c.text_embed_2_dim is not None:
        more["encoder_hidden_states_2"] = d.tokens(128, c.text_embed_2_dim)
        more["encoder_attention_mask_2"] = d.mask(128)
    if c.use_meanflow:
        more["timestep_r"] = d.time(400)
    if c.guidance_embeds:
        more["guidance"] = d.time(3500)
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(500),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "encoder_attention_mask": d.mask(),
        **more,
    }


@calls("BriaFibo2Transformer2DModel", size=128, words=1024, at="1024 px")
def bria_fibo2(c: Any, d: Draw) -> dict[str, Any]:
    """FIBO 2: the text of several layers, the first of which is summarised."""
    layers = 1 + len(c.injection_layer_ids)
    return {
        "hidden_states": d.image(c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": d.normal(d.batch, layers, d.words, c.cap_feat_dim),
        "encoder_attention_mask": d.mask(dtype=torch.bool),
    }
