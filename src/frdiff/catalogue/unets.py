"""U-Nets of images and videos, and other denoisers of convolutions."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("UNet2DModel", batch=1, size=64, at="64 px")
def pixel_unet(c: Any, d: Draw) -> dict[str, Any]:
    """Images, perhaps with class labels."""
    labels = {"class_labels": d.integers(c.num_class_embeds, d.batch)} if c.num_class_embeds else {}
    return {"sample": d.image(c.in_channels), "timestep": d.step(), **labels}


def _picture_size(c: Any, d: Draw) -> dict[str, Any]:
    """What SDXL adds to time: a second encoder's text, and the picture's size, crop and target."""
    if c.addition_embed_type != "text_time":
        return {}
    edge = 8.0 * d.height
    ids = d.each(edge, edge, 0, 0, edge, edge)
    pooled = c.projection_class_embeddings_input_dim - ids.shape[1] * c.addition_time_embed_dim
    return {"added_cond_kwargs": {"text_embeds": d.vector(pooled), "time_ids": ids}}


@calls("DreamLiteUNetModel", size=(128, 256), at="1024 px beside the picture to edit")
@calls("UNet2DConditionModel", size=64, at="512 px")
def text_unet(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Diffusion, SDXL and DreamLite."""
    return {
        "sample": d.image(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.encoder_hid_dim or c.cross_attention_dim),
        **_picture_size(c, d),
    }


@calls("UNetControlNetXSModel", size=64, at="512 px")
def controlnet_xs(c: Any, d: Draw) -> dict[str, Any]:
    """ControlNet-XS: a U-Net together with the smaller one that steers it by a picture."""
    picture = d.normal(d.batch, c.ctrl_conditioning_channels, 8 * d.height, 8 * d.width)
    return {
        "sample": d.image(4),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.cross_attention_dim),
        "controlnet_cond": picture,
        **_picture_size(c, d),
    }


@calls("UNet3DConditionModel", size=(40, 72), frames=24, at="576x320 px, 24 frames")
def video_unet(c: Any, d: Draw) -> dict[str, Any]:
    """ModelScope's text to video."""
    return {
        "sample": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.cross_attention_dim),
    }


@calls("UNetMotionModel", size=64, frames=16, at="512 px, 16 frames")
def motion_unet(c: Any, d: Draw) -> dict[str, Any]:
    """AnimateDiff, whose pipeline repeats the text for each frame."""
    words = d.text(c.cross_attention_dim).repeat_interleave(d.frames, dim=0)
    return {
        "sample": d.video(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": words,
    }


@calls(
    "UNetSpatioTemporalConditionModel", size=(72, 128), frames=25, at="1024x576 px, 25 frames",
    words=1,
)  # fmt: skip
def image_to_video_unet(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Video Diffusion: the first frame enters as an embedding and as channels."""
    return {
        "sample": d.normal(d.batch, d.frames, c.in_channels, *d.pixels),
        "timestep": d.step()[0],
        "encoder_hidden_states": d.text(c.cross_attention_dim),
        "added_time_ids": d.each(6, 127, 0.02),  # frames per second, motion, added noise
    }


@calls("I2VGenXLUNet", size=(88, 160), frames=16, at="1280x704 px, 16 frames")
def i2vgen(c: Any, d: Draw) -> dict[str, Any]:
    """I2VGen-XL: the image enters as latents and as an embedding."""
    return {
        "sample": d.video(c.in_channels),
        "timestep": d.step(),
        "fps": d.each(16, dtype=torch.long).flatten(),
        "image_latents": d.video(c.in_channels),
        "image_embeddings": d.vector(c.cross_attention_dim),
        "encoder_hidden_states": d.text(c.cross_attention_dim),
    }


@calls("Kandinsky3UNet", size=128, words=128, at="1024 px")
def kandinsky3(c: Any, d: Draw) -> dict[str, Any]:
    """Kandinsky 3."""
    return {
        "sample": d.image(c.in_channels),
        "timestep": d.step(),
        "encoder_hidden_states": d.text(c.encoder_hid_dim),
        "encoder_attention_mask": d.mask(),
    }


@calls("StableCascadeUNet", size=24, at="1024 px, stage C")
def stable_cascade(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Cascade: text and image for stage C, stage C's latents for stage B."""
    more = {}
    if c.clip_text_in_channels is not None:
        more["clip_text"] = d.text(c.clip_text_in_channels)
    if c.clip_image_in_channels is not None:
        more["clip_img"] = d.tokens(1, c.clip_image_in_channels)
    if c.effnet_in_channels is not None:
        more["effnet"] = d.image(c.effnet_in_channels)
    return {
        "sample": d.image(c.in_channels),
        "timestep_ratio": d.time(),
        "clip_text_pooled": d.tokens(1, c.clip_text_pooled_in_channels),
        **more,
    }


@calls("UVit2DModel", size=16, at="256 px")
def uvit(c: Any, d: Draw) -> dict[str, Any]:
    """aMUSEd: the sample is one of `codebook_size` tokens, or the mask, at each place."""
    return {
        "input_ids": d.integers(c.codebook_size, d.batch, *d.pixels),
        "encoder_hidden_states": d.text(c.encoder_hidden_size),
        "pooled_text_emb": d.vector(c.cond_embed_dim),
        "micro_conds": d.each(*[256] * (c.micro_cond_embed_dim // c.micro_cond_encode_dim)),
    }
