"""Models at the size that they were published at, without weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from frdiff.catalogue.blocks import NOT_DENOISERS
from frdiff.catalogue.registry import CALLS, CallSize, entry

__all__ = ["PUBLISHED", "FullSize", "find_full_sizes", "full_sizes"]


@dataclass(frozen=True)
class FullSize:
    """A published model.

    Attributes:
        name: what it is called.
        class_name: its class in diffusers.
        config: what differs from the defaults of its class.
        call: fields of `CallSize` that differ from those of its class.
        dtype: in which it can be counted on a CPU.
    """

    name: str
    class_name: str
    config: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16

    @property
    def call_size(self) -> CallSize:
        """How large its calls are."""
        return replace(entry(self._class())[1], **self.call)

    def build(self) -> nn.Module:
        """The model on the meta device, in its type and eval mode: shapes without memory."""
        with torch.device("meta"):
            model: nn.Module = self._class()(**self.config)
        # Not the model's own `to`, which warns of layers that are best kept in 32 bits.
        return nn.Module.to(model, self.dtype).eval()

    def in_16_bits(self, size: int) -> int:
        """Bytes of features that take `size` bytes in its type."""
        return size * 2 // self.dtype.itemsize

    def _class(self) -> type:
        import diffusers

        found: type = getattr(diffusers, self.class_name)
        return found


_SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_PIXART = {"caption_channels": 4096, "interpolation_scale": 2}
_CASCADE_B = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
_SD35_LARGE = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
_WAN_I2V = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}

# Classes that are published at other sizes than their defaults, or at several.
PUBLISHED = (
    FullSize("SD 1.5", "UNet2DConditionModel", {"cross_attention_dim": 768}),
    FullSize(
        "SD 2.1",
        "UNet2DConditionModel",
        {
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        {"size": 96, "at": "768 px"},
    ),
    FullSize("SDXL", "UNet2DConditionModel", _SDXL, {"size": 128, "at": "1024 px"}),
    FullSize("DiT-XL/2", "DiTTransformer2DModel", {}, {"at": "256 px"}),
    FullSize("DiT-XL/2 512", "DiTTransformer2DModel", {"sample_size": 64}, {"at": "512 px"}),
    FullSize("PixArt-alpha XL/2", "PixArtTransformer2DModel", _PIXART, {"at": "1024 px"}),
    FullSize(
        "PixArt-Sigma XL/2",
        "PixArtTransformer2DModel",
        _PIXART | {"use_additional_conditions": False},
        {"words": 300, "at": "1024 px"},
    ),
    FullSize(
        "SD3 medium",
        "SD3Transformer2DModel",
        {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 192,
        },
    ),
    FullSize("SD3.5 large", "SD3Transformer2DModel", _SD35_LARGE),
    FullSize("Flux dev", "FluxTransformer2DModel", {"guidance_embeds": True}),
    FullSize(
        "HunyuanDiT 1.2",
        "HunyuanDiT2DModel",
        {
            "in_channels": 4,
            "patch_size": 2,
            "hidden_size": 1408,
            "num_layers": 40,
            "mlp_ratio": 4.3637,
            "sample_size": 128,
            "use_style_cond_and_image_meta_size": False,
        },
    ),
    FullSize(
        "HiDream-I1",
        "HiDreamImageTransformer2DModel",
        {
            "patch_size": 2,
            "in_channels": 16,
            "caption_channels": [4096, 4096],
            "axes_dims_rope": (64, 32, 32),
            "llama_layers": [min(i, 31) for i in range(48)],
        },
    ),
    FullSize("Lumina-Next", "LuminaNextDiT2DModel", {"num_layers": 24, "num_kv_heads": 8}),
    FullSize("Lumina Image 2", "Lumina2Transformer2DModel", {"cap_feat_dim": 2304}),
    FullSize(
        "OmniGen",
        "OmniGenTransformer2DModel",
        {"rope_scaling": {"long_factor": [1.0] * 48, "short_factor": [1.0] * 48}},
    ),
    FullSize("HunyuanImage 2.1", "HunyuanImageTransformer2DModel", {"text_embed_2_dim": 1472}),
    FullSize(
        "Stable Cascade, stage C",
        "StableCascadeUNet",
        {
            "clip_text_in_channels": 1280,
            "clip_image_in_channels": 768,
            "switch_level": (False,),
        },
    ),
    FullSize(
        "Stable Cascade, stage B",
        "StableCascadeUNet",
        {
            "in_channels": 4,
            "out_channels": 4,
            "patch_size": 2,
            "conditioning_dim": 1280,
            "block_out_channels": (320, 640, 1280, 1280),
            "num_attention_heads": (-1, -1, 20, 20),
            "down_num_layers_per_block": (2, 6, 28, 6),
            "up_num_layers_per_block": (6, 28, 6, 2),
            "down_blocks_repeat_mappers": (1, 1, 1, 1),
            "up_blocks_repeat_mappers": (3, 3, 2, 2),
            "block_types_per_layer": (
                _CASCADE_B,
                _CASCADE_B,
                (*_CASCADE_B, "SDCascadeAttnBlock"),
                (*_CASCADE_B, "SDCascadeAttnBlock"),
            ),
            "effnet_in_channels": 16,
            "pixel_mapper_in_channels": 3,
            "dropout": (0, 0, 0.1, 0.1),
            "timestep_conditioning_type": ("sca",),
        },
        {"size": 256, "at": "1024 px"},
    ),
    FullSize("AnimateDiff", "UNetMotionModel", {"cross_attention_dim": 768}),
    FullSize(
        "Dance Diffusion, small",
        "UNet1DModel",
        {"extra_in_channels": 16, "time_embedding_dim": 16},
    ),
    FullSize(
        "Latte",
        "LatteTransformer3DModel",
        {
            "in_channels": 4,
            "out_channels": 8,
            "attention_head_dim": 72,
            "num_layers": 28,
            "cross_attention_dim": 1152,
            "attention_bias": True,
            "patch_size": 2,
            "activation_fn": "gelu-approximate",
            "num_embeds_ada_norm": 1000,
            "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
            "caption_channels": 4096,
        },
    ),
    FullSize(
        "EasyAnimate 5.1",
        "EasyAnimateTransformer3DModel",
        {"in_channels": 16, "out_channels": 16, "patch_size": 2},
    ),
    FullSize("CogVideoX 2B", "CogVideoXTransformer3DModel"),
    FullSize(
        "CogVideoX 5B",
        "CogVideoXTransformer3DModel",
        {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
    ),
    FullSize(
        "ConsisID",
        "ConsisIDTransformer3DModel",
        {
            "num_attention_heads": 48,
            "num_layers": 42,
            "in_channels": 32,
            "use_rotary_positional_embeddings": True,
            "is_train_face": True,
        },
    ),
    FullSize("Wan 2.1 14B", "WanTransformer3DModel"),
    FullSize(
        "Wan 2.1 1.3B",
        "WanTransformer3DModel",
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    ),
    FullSize("Wan 2.1 14B image to video", "WanTransformer3DModel", _WAN_I2V),
    FullSize("ChronoEdit", "ChronoEditTransformer3DModel", _WAN_I2V),
    FullSize("Wan 2.2 Animate", "WanAnimateTransformer3DModel", {"added_kv_proj_dim": 5120}),
    FullSize(
        "FramePack",
        "HunyuanVideoFramepackTransformer3DModel",
        {"has_image_proj": True, "has_clean_x_embedder": True},
    ),
    # Its geometry of cameras takes no 16 bits on a CPU.
    FullSize("SANA-WM", "SanaWMTransformer3DModel", dtype=torch.float32),
    # The mask of padding needs torchvision; it is one channel more.
    FullSize("Cosmos 1.0 7B", "CosmosTransformer3DModel", {"concat_padding_mask": False}),
)


def full_sizes() -> list[FullSize]:
    """All published models, by class: those above, and other classes as their defaults have them.

    Blocks of U-Nets, which are no denoisers, are left out.
    """
    published = {model.class_name for model in PUBLISHED}
    others = sorted(set(CALLS) - published - set(NOT_DENOISERS))
    # Sorting is stable: models of one class stay in the order of the table above.
    return sorted(
        [*PUBLISHED, *(FullSize(name, name) for name in others)], key=lambda model: model.class_name
    )


def find_full_sizes(names: Sequence[str]) -> list[FullSize]:
    """The published models called so, or of classes called so; all of them if nothing is named.

    Raises:
        ValueError: a name that is neither.
    """
    known = full_sizes()
    wanted = {name.lower() for name in names}
    labels = {label: label.lower() for m in known for label in (m.name, m.class_name)}
    for name in names:
        if name.lower() not in labels.values():
            near = get_close_matches(name, list(labels), n=4, cutoff=0.4)
            raise ValueError(
                f"no model or denoiser class {name!r}; "
                + (f"did you mean {', '.join(near)}? " if near else "")
                + "frdiff models lists all"
            )
    return [m for m in known if not wanted or wanted & {labels[m.name], labels[m.class_name]}]
