"""The denoisers of a pipeline: the networks called in its sampling loop."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from diffusers import DiffusionPipeline
from torch import nn

__all__ = ["find_denoisers", "frozen", "unwrap", "weights_hash"]

COMPONENTS = ("unet", "transformer", "transformer_2")


def find_denoisers(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    """The denoisers of a pipeline by component name, uncompiled: U-Net, transformer, Wan's two.

    Raises:
        ValueError: it has none.
    """
    parts = pipe.components
    found = {name: unwrap(parts[name]) for name in COMPONENTS if parts.get(name) is not None}
    if not found:
        raise ValueError(
            f"{type(pipe).__name__} has no denoiser ({', '.join(COMPONENTS)}), only "
            f"{', '.join(parts)}; pass the network: apply(denoiser, policy, scheduler=...)"
        )
    return found


def unwrap(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped, or the module itself."""
    original: nn.Module = getattr(module, "_orig_mod", module)
    return original


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While it lasts, no gradients for weights; as before afterwards."""
    weights = (weight for module in modules for weight in module.parameters())
    wanted = [weight for weight in weights if weight.requires_grad]
    for weight in wanted:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)


def weights_hash(denoisers: Iterable[nn.Module]) -> str:
    """The first 12 digits of the SHA-256 of all weights."""
    digest = hashlib.sha256()
    for denoiser in denoisers:
        for name, weight in sorted(denoiser.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
