"""The pipelines that ship with the package, and pipelines by folder or hub id."""

import json
from pathlib import Path
from typing import Any

import torch

from frdiff.policy import Policy, load_policy

__all__ = [
    "GUIDANCE",
    "INPUTS",
    "load_model",
    "open_pipeline",
    "shipped_captions",
    "shipped_folder",
    "shipped_models",
    "shipped_policies",
]

# The guidance scale at which the full run of a shipped model looks best.
GUIDANCE = {"emoji": 2.0, "emoji-dit": 1.5, "emoji-flow": 4.0, "digits": None}
# What else it is called with to be fast. In place of a T5 StableDiffusion3Pipeline feeds 256 zeros,
# most of the work at this size; they do not show in the pictures.
INPUTS: dict[str, dict[str, Any]] = {"emoji-flow": {"max_sequence_length": 16}}

# In a wheel of their own: most users need none of them, and together all would be 70 MB.
APART = ("emoji-dit", "emoji-flow")

HERE = Path(__file__).parent


def shipped_models() -> list[str]:
    """Names that `load_model` takes."""
    return sorted(path.parent.name for path in HERE.glob("*/model_index.json"))


def shipped_folder(name: str) -> Path:
    """The folder of the shipped model `name`.

    Raises:
        ValueError: no such model, or one whose wheel is not installed.
    """
    if name in APART and name not in shipped_models():
        raise ValueError(
            f"the model {name!r} comes in a wheel of its own: pip install frdiff-models"
        )
    if name not in shipped_models():
        raise ValueError(f"no shipped model {name!r}; there is: {', '.join(shipped_models())}")
    return HERE / name


def shipped_captions(name: str) -> list[str]:
    """The prompts that the shipped model `name` has learnt."""
    path = shipped_folder(name) / "captions.json"
    captions: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return captions


def shipped_policies(name: str) -> dict[str, Policy]:
    """Policies tuned on the shipped model `name`, by what was asked for; see `make tune`."""
    paths = sorted((shipped_folder(name) / "policies").glob("*.json"))
    return {path.stem: load_policy(path) for path in paths}


def load_model(name: str, *, dtype: torch.dtype = torch.float32) -> Any:
    """The shipped diffusers pipeline `name`, loaded from the package without a network.

    Args:
        name: see `shipped_models`. "emoji" is a text-to-image `StableDiffusionPipeline`, 64x64;
            "emoji-dit" a class-conditional `DiTPipeline` on the same latents; "emoji-flow" a
            text-to-image `StableDiffusion3Pipeline` on them, which samples by flow matching;
            "digits" an unconditional `DDIMPipeline` in pixel space, 16x16.
        dtype: type of the weights in memory; the files hold float16.

    Raises:
        ValueError: no such model.
    """
    return _load(str(shipped_folder(name)), dtype, local_files_only=True)


def open_pipeline(name: str, *, dtype: torch.dtype = torch.float32) -> Any:
    """The pipeline of a shipped model, a local folder in diffusers' layout, or a hub id."""
    if name in shipped_models():
        return load_model(name, dtype=dtype)
    if Path(name).is_dir() and not (Path(name) / "model_index.json").is_file():
        raise ValueError(f"{name} has no model_index.json: not a diffusers pipeline folder")
    return _load(name, dtype)


def _load(source: str, dtype: torch.dtype, **options: Any) -> Any:
    from diffusers import DiffusionPipeline

    # Only safetensors: weights in pickle files can run code.
    options |= {"dtype": dtype, "use_safetensors": True}
    index = Path(source) / "model_index.json"
    if index.is_file():
        # What was saved as absent, as a Stable Diffusion 3 without T5, diffusers wants to be told.
        parts = json.loads(index.read_text(encoding="utf-8"))
        options |= {name: None for name, part in parts.items() if part == [None, None]}
    pipeline = DiffusionPipeline.from_pretrained(source, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
