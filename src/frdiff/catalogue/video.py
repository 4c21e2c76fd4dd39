"""Transformers of videos."""

from typing import Any

import torch

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
        patches = d.frames * d.height * d.width // c.patch_size**2 // (c.get("patch_size_t") or 1)
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


@calls(
    "ChronoEditTransformer3DModel",
    size=(90, 160),
    frames=2,
    words=512,
    batch=1,
    at="1280x720 px, 5 frames",
)
@calls(
    "SkyReelsV2Transformer3DModel",
    size=(68, 120),
    frames=25,
    words=512,
    batch=1,
    at="960x544 px, 97 frames",
)
def wan_like(c: Any, d: Draw) -> dict[str, Any]:
    """Wan's descendants: a ChronoEdit image is two frames, SkyReels may know the frame rate."""
    fps = {"fps": [0] * d.batch} if c.get("inject_sample_info") else {}
    return wan(c, d) | fps


@calls("WanVACETransformer3DModel", **WAN)
def wan_vace(c: Any, d: Draw) -> dict[str, Any]:
    """Wan VACE: a video, its masked parts and references steer."""
    return wan(c, d) | {"control_hidden_states": d.video(c.vace_in_channels)}


@calls(
    "WanAnimateTransformer3DModel",
    size=(90, 160),
    frames=21,
    words=512,
    batch=1,
    at="1280x720 px, 77 frames",
)
def wan_animate(c: Any, d: Draw) -> dict[str, Any]:
    """Wan-Animate: poses at each frame but the first, and faces at the rate of the video."""
    edge = c.motion_encoder_size
    return wan(c, d) | {
        "pose_hidden_states": d.normal(d.batch, c.latent_channels, d.frames - 1, *d.pixels),
        "face_pixel_values": d.normal(d.batch, 3, 4 * (d.frames - 2) + 1, edge, edge),
    }


@calls("AnyFlowTransformer3DModel", **WAN)
def any_flow(c: Any, d: Draw) -> dict[str, Any]:
    """AnyFlow: frames before channels, with where each comes from and where it goes to."""
    images = {"encoder_hidden_states_image": d.tokens(257, c.image_dim)} if c.image_dim else {}
    return {
        "hidden_states": d.normal(d.batch, d.frames, c.in_channels, *d.pixels),
        "timestep": d.step()[:, None].expand(-1, d.frames),
        "r_timestep": d.step()[:, None].expand(-1, d.frames) // 2,
        "encoder_hidden_states": d.text(c.text_dim),
        **images,
    }


@calls(
    "MotifVideoTransformer3DModel",
    size=(90, 160),
    frames=31,
    words=256,
    batch=1,
    at="1280x720 px, 121 frames",
)
def motif(c: Any, d: Draw) -> dict[str, Any]:
    """Motif-Video."""
    images = {"image_embeds": d.tokens(729, c.image_embed_dim)} if c.image_embed_dim else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "encoder_attention_mask": d.mask(),
        **images,
    }


@calls(
    "HunyuanVideo15Transformer3DModel",
    size=(30, 53),
    frames=31,
    words=1000,
    batch=1,
    at="848x480 px, 121 frames",
)
def hunyuan_video15(c: Any, d: Draw) -> dict[str, Any]:
    """HunyuanVideo 1.5: text of two encoders and an image."""
    flow = {"timestep_r": d.time(400)} if c.use_meanflow else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.time(500),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "encoder_attention_mask": d.mask(),
        "encoder_hidden_states_2": d.tokens(256, c.text_embed_2_dim),
        "encoder_attention_mask_2": d.mask(256),
        "image_embeds": d.tokens(729, c.image_embed_dim),
        **flow,
    }


@calls("ConsisIDTransformer3DModel", size=(60, 90), frames=13, at="720x480 px, 49 frames")
def consis_id(c: Any, d: Draw) -> dict[str, Any]:
    """ConsisID: CogVideoX with a face."""
    face: dict[str, Any] = {}
    if c.is_train_face:
        tokens = 577
        face["id_cond"] = d.vector(c.LFE_id_dim)
        face["id_vit_hidden"] = [d.tokens(tokens, c.LFE_vit_dim) for _ in range(c.LFE_num_scale)]
    return cogvideox(c, d) | face


@calls(
    "AllegroTransformer3DModel", size=(90, 160), frames=22, words=512, at="1280x720 px, 88 frames"
)
def allegro(c: Any, d: Draw) -> dict[str, Any]:
    """Allegro: rotary embeddings of time, height and width, each by a place's number."""
    sizes = d.frames, d.height // c.patch_size, d.width // c.patch_size
    places = d.grid(*sizes).long()
    rotary = [d.rotary(size, c.attention_head_dim // 3) for size in sizes]
    return {
        "hidden_states": d.video(c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels),
        "timestep": d.step(),
        "attention_mask": d.mask().new_ones(d.batch, d.frames, *d.pixels),
        "encoder_attention_mask": d.mask(),
        "image_rotary_emb": (rotary, [axis.expand(d.batch, -1) for axis in places.unbind(1)]),
    }


@calls("LatteTransformer3DModel", frames=16, words=120, at="512 px, 16 frames")
def latte(c: Any, d: Draw) -> dict[str, Any]:
    """Latte."""
    return {
        "hidden_states": d.normal(d.batch, c.in_channels, c.video_length, *d.pixels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.caption_channels),
    }


@calls(
    "EasyAnimateTransformer3DModel", size=(48, 84), frames=13, words=256, at="672x384 px, 49 frames"
)
def easy_animate(c: Any, d: Draw) -> dict[str, Any]:
    """EasyAnimate: text of one or two encoders."""
    t5 = {}
    if c.text_embed_dim_t5 is not None:
        t5["encoder_hidden_states_t5"] = d.text(c.text_embed_dim_t5)
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        **t5,
    }


@calls(
    "SanaVideoTransformer3DModel", size=(60, 104), frames=21, words=300, at="832x480 px, 81 frames"
)
def sana_video(c: Any, d: Draw) -> dict[str, Any]:
    """Sana-Video."""
    guidance = {"guidance": d.time(4.5)} if c.guidance_embeds else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels),
        "timestep": d.step(),
        "encoder_attention_mask": d.mask(),
        **guidance,
    }


@calls(
    "CosmosTransformer3DModel",
    size=(88, 160),
    frames=16,
    words=512,
    batch=1,
    at="1280x704 px, 121 frames",
)
def cosmos(c: Any, d: Draw) -> dict[str, Any]:
    """Cosmos: a mask of what is padding."""
    words: Any = d.text(
        c.crossattn_proj_in_channels if c.use_crossattn_projection else c.text_embed_dim
    )
    if c.img_context_dim_in:
        words = words, d.tokens(c.img_context_num_tokens, c.img_context_dim_in)
    mask = {"padding_mask": d.normal(1, 1, *d.pixels)} if c.concat_padding_mask else {}
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.time(),
        "encoder_hidden_states": words,
        "fps": 24,
        **mask,
    }


@calls(
    "Kandinsky5Transformer3DModel",
    size=(64, 96),
    frames=31,
    words=256,
    batch=1,
    at="768x512 px, 121 frames",
)
def kandinsky5(c: Any, d: Draw) -> dict[str, Any]:
    """Kandinsky 5: channels last; places of patches and words."""
    channels = 2 * c.in_visual_dim + 1 if c.visual_cond else c.in_visual_dim
    patched = (d.frames, d.height // c.patch_size[1], d.width // c.patch_size[2])
    return {
        "hidden_states": d.normal(d.batch, d.frames, *d.pixels, channels),
        "encoder_hidden_states": d.text(c.in_text_dim),
        "timestep": d.time(500),
        "pooled_projections": d.vector(c.in_text_dim2),
        "visual_rope_pos": [torch.arange(size, device=d.device) for size in patched],
        "text_rope_pos": torch.arange(d.words, device=d.device),
    }


@calls(
    "Kandinsky6SRTransformer3DModel",
    size=(64, 64),
    frames=11,
    batch=1,
    at="512 px tiles, 41 frames",
)
def kandinsky6_sr(c: Any, d: Draw) -> dict[str, Any]:
    """Kandinsky 6's super-resolution: channels last, an anchor and its mask, no text."""
    return {
        "hidden_states": d.normal(d.batch, d.frames, *d.pixels, 2 * c.in_visual_dim + 1),
        "timestep": d.time(500),
    }
