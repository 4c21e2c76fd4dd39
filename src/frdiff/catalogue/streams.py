"""Transformers of videos with sound, with what came before, or in one sequence with text."""

from typing import Any

import torch
from torch import Tensor

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls(
    "LTX2VideoTransformer3DModel", size=(16, 24), frames=16, words=1024, at="768x512 px, 121 frames"
)
def ltx2(c: Any, d: Draw) -> dict[str, Any]:
    """LTX-2: video and sound, each with its text."""
    sounds = round((8 * (d.frames - 1) + 1) / 24 * 25)  # a latent is 8 frames, 25 of sound a second
    dim = c.caption_channels if c.use_prompt_embeddings else c.cross_attention_dim
    audio_dim = c.caption_channels if c.use_prompt_embeddings else c.audio_cross_attention_dim
    return {
        "hidden_states": d.tokens(d.frames * d.height * d.width, c.in_channels),
        "audio_hidden_states": d.tokens(sounds, c.audio_in_channels),
        "encoder_hidden_states": d.text(dim),
        "audio_encoder_hidden_states": d.text(audio_dim),
        "timestep": d.time(500),
        "sigma": d.time(500),
        "encoder_attention_mask": d.mask(),
        "audio_encoder_attention_mask": d.mask(),
        "num_frames": d.frames,
        "height": d.height,
        "width": d.width,
        "fps": 24.0,
        "audio_num_frames": sounds,
    }


@calls(
    "Kandinsky6Transformer3DModel",
    size=(64, 96),
    frames=31,
    words=256,
    batch=1,
    at="768x512 px, 121 frames",
)
def kandinsky6(c: Any, d: Draw) -> dict[str, Any]:
    """Kandinsky 6: video, channels last, and sound."""
    sounds = round((4 * (d.frames - 1) + 1) / 24 * 43)  # a latent is 4 frames, 43 of sound a second
    channels = 2 * c.in_visual_dim + 1 if c.visual_cond else c.in_visual_dim
    return {
        "hidden_states": d.normal(d.batch, d.frames, *d.pixels, channels),
        "encoder_hidden_states": d.text(c.in_text_dim),
        "pooled_projections": d.vector(c.in_text_dim2),
        "timestep": d.time(500),
        "audio_hidden_states": d.tokens(sounds, c.in_audio_dim),
    }


@calls(
    "MiniMaxH3Transformer3DModel",
    size=(48, 84),
    frames=37,
    words=256,
    batch=1,
    at="1344x768 px, 124 frames",
)
def minimax_h3(c: Any, d: Draw) -> dict[str, Any]:
    """MiniMax H3: words, sound and patches of video in one sequence, told apart by tags."""
    time, height, width = c.patch_size
    sizes = d.frames // time, d.height // height, d.width // width
    seconds = ((d.frames - 2) // 5 * 17 + 5) / 24  # 5 latents are 17 frames
    sounds = 2 * round(40 * seconds)  # two channels
    lengths = {1: d.words, 2: sounds, 0: sizes[0] * sizes[1] * sizes[2]}  # by tag
    tags = torch.cat([torch.full((n,), tag, device=d.device) for tag, n in lengths.items()])
    words, sound, video = torch.arange(len(tags), device=d.device).split(list(lengths.values()))
    return {
        "hidden_states": d.tokens(len(video), c.in_channels * time * height * width),
        "audio_hidden_states": d.tokens(len(sound), c.audio_in_channels),
        "encoder_hidden_states": d.text(c.text_dim),
        "timestep": torch.tensor([0.7, 0.3], device=d.device, dtype=d.dtype),
        "timestep_indices": (tags == 2).long(),
        "token_tags": tags,
        "position_ids": torch.cat(
            [d.grid(n, 1, 1) for n in (len(words), len(sound))] + [d.grid(*sizes)]
        ).float(),
        "video_indices": video,
        "audio_indices": sound,
        "text_indices": words,
    }


@calls(
    "Cosmos3OmniTransformer",
    size=(44, 80),
    frames=48,
    words=256,
    batch=1,
    at="1280x704 px, 189 frames",
)
def cosmos3(c: Any, d: Draw) -> dict[str, Any]:
    """Cosmos 3: words, then the video, perhaps then sound, in one sequence without a batch."""
    height, width = d.height // c.latent_patch_size, d.width // c.latent_patch_size
    video, sound = d.frames * height * width, 0
    more: dict[str, Any] = {}
    if c.sound_gen:
        sound = 4 * d.frames
        places = torch.arange(sound, device=d.device) + d.words + video
        more = {
            "sound_tokens": [d.normal(c.sound_dim, sound)],
            "sound_token_shapes": [(sound, 1, 1)],
            "sound_sequence_indexes": places,
            "sound_mse_loss_indexes": places,
            "sound_timesteps": d.normal(sound).fill_(500),
            "sound_noisy_frame_indexes": [torch.arange(sound, device=d.device)],
        }
    places = torch.arange(video, device=d.device) + d.words
    length = d.words + video + sound
    return {
        "vision_tokens": [d.normal(1, c.latent_channel, d.frames, *d.pixels)],
        "input_ids": d.integers(c.vocab_size, d.words),
        "text_indexes": torch.arange(d.words, device=d.device),
        "position_ids": torch.arange(length, device=d.device).expand(3, -1),
        "und_len": d.words,
        "sequence_length": length,
        "vision_token_shapes": [(d.frames, height, width)],
        "vision_sequence_indexes": places,
        "vision_mse_loss_indexes": places,
        "vision_timesteps": d.normal(video).fill_(500),
        "vision_noisy_frame_indexes": [torch.arange(d.frames, device=d.device)],
        **more,
    }


def _history(
    d: Draw, channels: int, lengths: tuple[int, ...] = (16, 2, 2)
) -> tuple[list[Tensor], list[Tensor]]:
    """Earlier frames of three grades, and the numbers of all frames, those to come last."""
    numbers = torch.arange(sum(lengths) + d.frames, device=d.device)
    frames = [d.normal(d.batch, channels, length, *d.pixels) for length in lengths]
    return frames, list(numbers.split([*lengths, d.frames]))


@calls(
    "HeliosTransformer3DModel",
    size=(48, 80),
    frames=9,
    words=512,
    batch=1,
    at="640x384 px, 33 frames a chunk",
)
def helios(c: Any, d: Draw) -> dict[str, Any]:
    """Helios: a chunk of a long video after 16, 2 and 2 earlier frames, ever finer."""
    frames, numbers = _history(d, c.in_channels)
    numbers = [number.expand(d.batch, -1) for number in numbers]
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_dim),
        "indices_hidden_states": numbers[3],
        "indices_latents_history_short": numbers[2],
        "indices_latents_history_mid": numbers[1],
        "indices_latents_history_long": numbers[0],
        "latents_history_short": frames[2],
        "latents_history_mid": frames[1],
        "latents_history_long": frames[0],
    }


@calls(
    "HunyuanVideoFramepackTransformer3DModel",
    size=(80, 80),
    frames=9,
    words=256,
    batch=1,
    at="640 px, 33 frames a section",
)
def framepack(c: Any, d: Draw) -> dict[str, Any]:
    """FramePack: a section of a long video with 16, 2 and 2 other frames, ever finer."""
    guidance = {"guidance": d.time(6000)} if c.guidance_embeds else {}
    frames, numbers = _history(d, c.in_channels)
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.text_embed_dim),
        "encoder_attention_mask": d.mask(),
        "pooled_projections": d.vector(c.pooled_projection_dim),
        "image_embeds": d.tokens(729, c.image_proj_dim),
        "indices_latents": numbers[3],
        "latents_clean": frames[2],
        "indices_latents_clean": numbers[2],
        "latents_history_2x": frames[1],
        "indices_latents_history_2x": numbers[1],
        "latents_history_4x": frames[0],
        "indices_latents_history_4x": numbers[0],
        **guidance,
    }


@calls(
    "AnyFlowFARTransformer3DModel",
    size=(60, 104),
    frames=3,
    words=512,
    batch=1,
    at="832x480 px, a first chunk of 9 frames",
)
def any_flow_far(c: Any, d: Draw) -> dict[str, Any]:
    """AnyFlow's frame-wise model: the first chunk, before any keys and values are kept."""
    room = torch.Size((2, d.batch, c.num_attention_heads, 0, c.attention_head_dim))
    kept = {name: d.normal(*room) for name in ("full_cache", "compressed_cache")}
    return {
        "hidden_states": d.normal(d.batch, d.frames, c.in_channels, *d.pixels),
        "timestep": d.step()[:, None].expand(-1, d.frames),
        "r_timestep": d.step()[:, None].expand(-1, d.frames) // 2,
        "encoder_hidden_states": d.text(c.text_dim),
        "chunk_partition": [d.frames],
        "kv_cache": [kept] * c.num_layers,
        "kv_cache_flag": {"num_cached_chunks": 0, "is_cache_step": False},
    }


@calls("SanaWMTransformer3DModel", size=(22, 40), frames=11, words=300, at="1280x704 px, 81 frames")
def sana_world(c: Any, d: Draw) -> dict[str, Any]:
    """SANA-WM: a camera's pose (16 numbers) and lens (4) at each frame, and its rays."""
    pose = torch.eye(4, device=d.device, dtype=d.dtype).flatten()
    lens = torch.tensor(
        [d.width, d.width, d.width / 2, d.height / 2], device=d.device, dtype=d.dtype
    )
    return {
        "hidden_states": d.video(c.in_channels),
        "timestep": d.step().view(-1, 1, 1).expand(-1, 1, d.frames),
        "encoder_hidden_states": d.normal(d.batch, 1, d.words, c.caption_channels),
        "encoder_attention_mask": d.mask().view(d.batch, 1, 1, -1),
        "camera_conditions": torch.cat([pose, lens]).expand(d.batch, d.frames, -1),
        "chunk_plucker": d.video(c.chunk_plucker_channels),
    }


@calls(
    "SanaWMLTX2RefinerTransformer3DModel",
    size=(22, 40),
    frames=3,
    words=1024,
    batch=1,
    at="1280x704 px, 24 frames",
)
def sana_refiner(c: Any, d: Draw) -> dict[str, Any]:
    """SANA-WM's refiner: LTX-2 without sound, its places rotary embeddings in halves."""
    length = d.frames * d.height * d.width
    angle = d.normal(d.batch, length, c.num_attention_heads * c.attention_head_dim).float()
    return {
        "hidden_states": d.tokens(length, c.in_channels),
        "encoder_hidden_states": d.text(c.caption_channels),
        "timestep": d.time(500)[:, None].expand(-1, length),
        "video_rotary_emb": (angle.cos(), angle.sin()),
        "encoder_attention_mask": d.mask(),
    }


@calls(
    "WanAnimate2Transformer3DModel",
    size=(60, 104),
    frames=21,
    words=512,
    batch=1,
    at="832x480 px, 77 frames",
)
def wan_animate2(c: Any, d: Draw) -> dict[str, Any]:
    """Wan-Animate 2: lists of samples, and keys and values of the driving video in a cache.

    The frames are one picture of who is animated, then those of the driving video.
    """
    from diffusers.models.transformers.transformer_wan_animate_2 import WanAnimate2KVCache

    height, width = d.height // c.patch_size[1], d.width // c.patch_size[2]
    driving = (d.frames - 1, height, width)
    cache = WanAnimate2KVCache(c.num_layers)
    kept = d.tokens(driving[0] * height * width, c.dim).unflatten(2, (c.num_heads, -1))
    for layer in cache.layer_caches:
        layer.store(kept, kept)
    images = d.tokens(257, 1280) if c.use_img_emb else None
    return {
        "hidden_states": list(d.video(c.out_dim)),
        "timestep": d.time(500),
        "encoder_hidden_states": list(d.text(c.text_dim)),
        "condition_latents": list(d.video(c.in_dim - c.out_dim)),
        "kv_cache": cache,
        "kv_cache_mode": "cached",
        "seq_len": d.frames * height * width,
        "encoder_hidden_states_image": images,
        "reference_grid_sizes": torch.tensor([driving]).expand(d.batch, -1),
        "origin_len": 4 * (d.frames - 2) + 1,
        "origin_area": [8 * d.height, 8 * d.width],
    }
