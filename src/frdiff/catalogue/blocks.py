"""Models of diffusers that are parts of a U-Net, called as it calls them."""

from typing import Any

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls

__all__ = ["NOT_DENOISERS"]

NOT_DENOISERS = {
    "DreamLiteTransformer2DModel": "a block of DreamLiteUNetModel",
    "MiniMaxMusic3RVQDepthDecoder": "writes codes one after another, without a sampling loop",
    "MotionAdapter": "a container of weights for UNetMotionModel, never called",
    "Transformer2DModel": "a block of U-Nets",
    "TransformerTemporalModel": "a block of video U-Nets",
}
"""Classes of `diffusers.models.unets` and `.transformers` that predict no score, and why."""


@calls("Transformer2DModel", "DreamLiteTransformer2DModel", size=64, at="64 by 64 features")
def image_block(c: Any, d: Draw) -> dict[str, Any]:
    """A transformer within a U-Net."""
    text = {"encoder_hidden_states": d.text(c.cross_attention_dim)} if c.cross_attention_dim else {}
    return {"hidden_states": d.image(c.in_channels), **text}


@calls("TransformerTemporalModel", size=64, frames=16, at="64 by 64 features, 16 frames")
def temporal_block(c: Any, d: Draw) -> dict[str, Any]:
    """A transformer over the frames, which come one after another in the batch."""
    return {
        "hidden_states": d.normal(d.batch * d.frames, c.in_channels, *d.pixels),
        "num_frames": d.frames,
    }
