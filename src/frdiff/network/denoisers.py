"""The denoisers of a pipeline: the networks called in its sampling loop, and what steps them."""

import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import nn

from frdiff.schedulers.timesteps import TIME

__all__ = [
    "components",
    "find_denoisers",
    "find_scheduler",
    "frozen",
    "unwrap",
    "weights_hash",
]

# Where diffusers keeps its denoisers; motion adapters are kept there too, but take one input.
HOMES = ("diffusers.models.unets.", "diffusers.models.transformers.")
# They take a timestep as denoisers do, and are called beside one.
HELPERS = re.compile(r".*(controlnet|adapter|encoder).*")


def components(pipe: DiffusionPipeline) -> dict[str, Any]:
    """What the pipeline was made of, by name; `pipe.components` leaves out what has a default."""
    parts = {name: vars(pipe).get(name) for name in pipe.config if not name.startswith("_")}
    return {name: part for name, part in parts.items() if part is not None}


def find_denoisers(
    pipe: DiffusionPipeline, scheduler: SchedulerMixin | None = None
) -> dict[str, nn.Module]:
    """The denoisers of a pipeline by component name, uncompiled; those of a list are numbered.

    A component is one by what it takes: a network with an input that tells the time, or one that
    diffusers keeps among its U-Nets and transformers, whatever the pipeline calls it. In a pipeline
    with several schedulers, a component called `prior_...` is stepped by `prior_scheduler`.

    Args:
        scheduler: only what this one steps; None for the pipeline's main one, or for all
            denoisers if it has none.

    Raises:
        ValueError: it has none.
    """
    parts = components(pipe)
    found: dict[str, nn.Module] = {}
    for name, part in parts.items():
        rows = part if isinstance(part, list | tuple | nn.ModuleList) else [part]
        for number, row in enumerate(rows):
            if _is_denoiser(name, row) and unwrap(row) not in found.values():
                found[name if row is part else f"{name}.{number}"] = unwrap(row)
    if not found:
        raise ValueError(
            f"{type(pipe).__name__} has no denoiser, a network with an input that tells the time, "
            f"only {', '.join(parts)}; pass the network: apply(denoiser, policy, scheduler=...)"
        )
    main = getattr(pipe, "scheduler", None)
    steppers = {
        name.removesuffix("scheduler"): part
        for name, part in parts.items()
        if name.endswith("_scheduler") and isinstance(part, SchedulerMixin)
    }
    stepped_by = {
        name: next((part for key, part in steppers.items() if f"{name}_".startswith(key)), main)
        for name in found
    }
    chosen = scheduler or main
    if not any(part is chosen for part in stepped_by.values()):
        chosen = main  # one whose name tells nothing steps what no other does
    own = {name: part for name, part in found.items() if stepped_by[name] is chosen}
    return found if scheduler is None and main is None else own or found


def find_scheduler(pipe: DiffusionPipeline) -> str:
    """The name of the component that steps the main denoiser of a pipeline.

    Raises:
        ValueError: it has no `scheduler`.
    """
    if getattr(pipe, "scheduler", None) is not None:
        return "scheduler"
    others = [name for name, part in components(pipe).items() if isinstance(part, SchedulerMixin)]
    those = " or ".join(f"scheduler=pipe.{name}" for name in others)
    raise ValueError(
        f"{type(pipe).__name__} has no component `scheduler`; pass the one that its loop steps: "
        f"apply(pipe, policy, {those or 'scheduler=...'})"
    )


def _is_denoiser(name: str, part: Any) -> bool:
    if not isinstance(part, nn.Module) or HELPERS.fullmatch(name):
        return False
    kind = type(unwrap(part))
    inputs = list(inspect.signature(kind.forward).parameters)[1:]
    at_home = any(cls.__module__.startswith(HOMES) for cls in kind.__mro__)
    return len(inputs) > 1 and (at_home or any(TIME.fullmatch(entry) for entry in inputs))


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
