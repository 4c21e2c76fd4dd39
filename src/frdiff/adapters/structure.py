"""Structure: the residual units of a denoiser, recognised from its tree of modules.

A unit is a module with a skip path around all that it computes: a ResNet block, a block of a
transformer, a stack of such blocks between two projections, or an attention that adds its own
input. What lies between units (down- and up-samplers, embeddings, first and last layers) changes
shapes or carries the timestep, and is none. Names of classes are asked only for what kind of
layer a module is, never for which model it belongs to.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from torch import nn

__all__ = ["Kind", "Unit", "attentions", "branches", "kind_of", "units_of"]

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTED = (nn.Linear, *CONVOLUTIONS)
ATTENTION = re.compile(r"Attention|Attn")
NO_ATTENTION = re.compile(r"Block|Layer|Norm|Processor|Pool|Embed")
FEED_FORWARD = re.compile(r"(^|_)(ff|ffn|mlp|feed_?forward|moe)($|_)")
LOOSE_MLPS = {
    "proj_out": ("proj_mlp",),
    "down_proj": ("gate_proj", "up_proj"),
    "fc2": ("fc1",),
    "linear2": ("linear1",),
    "w2": ("w1", "w3"),
}
RESIDUAL = re.compile(r"Res(idual|[Nn]et|Conv|Block|Temporal)|ConvNe?xt|TemporalConv")
SAMPLER = re.compile(r"(Down|Up)sample(?!.*Block)")


class Kind(Enum):
    """What a module is."""

    RESNET = auto()
    """A ResNet block with `conv1`, `conv2` and a shortcut."""
    BLOCK = auto()
    """A block with attention among its parts."""
    STACK = auto()
    """Blocks between a projection in and one out, around which a skip path leads."""
    ATTENTION = auto()
    """An attention that adds its own input."""
    RESIDUAL = auto()
    """Another residual block."""
    SAMPLER = auto()
    """A down- or up-sampler: no unit."""


@dataclass(frozen=True)
class Unit:
    """A module recognised.

    Attributes:
        name: dotted name within the denoiser.
    """

    name: str
    module: nn.Module
    kind: Kind


def units_of(denoiser: nn.Module) -> list[Unit]:
    """The outermost units of a denoiser, and its samplers, in module order."""
    found: list[Unit] = []
    for name, child in denoiser.named_children():
        # Whole blocks come in lists. What hangs on the denoiser itself embeds and projects.
        kind = kind_of(child)
        if not isinstance(child, LISTS) and kind in (Kind.STACK, Kind.SAMPLER):
            found.append(Unit(name, child, kind))
        else:
            found += _within(name, child)
    return found


def _within(prefix: str, module: nn.Module) -> Iterator[Unit]:
    for name, child in module.named_children():
        place = f"{prefix}.{name}"
        kind = kind_of(child)
        if kind is None or (kind is Kind.ATTENTION and not isinstance(module, LISTS)):
            yield from _within(place, child)
        else:
            yield Unit(place, child, kind)


def kind_of(module: nn.Module) -> Kind | None:
    """What kind of unit a module is; None for none, such as what only holds others."""
    if isinstance(module, LISTS):
        return None
    name = type(module).__name__
    if all(hasattr(module, part) for part in ("conv1", "conv2", "conv_shortcut")):
        return Kind.RESNET
    if SAMPLER.search(name):
        return Kind.SAMPLER
    if _is_stack(module):
        return Kind.STACK
    if attentions(module):
        return Kind.BLOCK
    if _is_attention(module):
        return Kind.ATTENTION if _adds_its_input(module) else None
    holds_units = any(True for _ in _within("", module))
    if RESIDUAL.search(name) and not holds_units and _weighted(module):
        return Kind.RESIDUAL
    return None


def attentions(block: nn.Module) -> dict[str, nn.Module]:
    """The attentions among the parts of a block, by name."""
    return {name: part for name, part in block.named_children() if _is_attention(part)}


def branches(block: nn.Module) -> dict[str, nn.Module]:
    """The attentions and feed-forwards among the parts of a block, by name."""
    return {
        name: part
        for name, part in block.named_children()
        if _is_attention(part)
        or (FEED_FORWARD.search(name) and not isinstance(part, WEIGHTED) and _weighted(part))
    }


def loose_mlp(block: nn.Module) -> tuple[str, nn.Linear, list[nn.Linear]] | None:
    """The MLP that a block holds as single layers: name and module of its last, and those before.

    As in Flux' single blocks, `proj_out(cat([attn(x), act(proj_mlp(x))]))`. None if it has none.
    """
    layers = {name: part for name, part in block.named_children() if isinstance(part, nn.Linear)}
    for last, before in LOOSE_MLPS.items():
        found = [layers[name] for name in before if name in layers]
        if last in layers and found:
            return last, layers[last], found
    return None


def _is_attention(module: nn.Module) -> bool:
    name = type(module).__name__
    return bool(ATTENTION.search(name)) and not NO_ATTENTION.search(name)


def _is_stack(module: nn.Module) -> bool:
    ends = {"proj_in", "proj_out"} <= module._modules.keys()
    return ends and any(
        attentions(block)
        for blocks in module.children()
        if isinstance(blocks, nn.ModuleList)
        for block in blocks
    )


def _adds_its_input(module: nn.Module) -> bool:
    """Whether an attention has a skip path of its own."""
    if hasattr(module, "residual_connection"):
        return bool(module.residual_connection)
    try:
        return "residual" in inspect.getsource(inspect.unwrap(type(module).forward))
    except (OSError, TypeError):
        return False


def _weighted(module: nn.Module) -> bool:
    """Whether there is a linear layer or a convolution in it."""
    return any(isinstance(part, WEIGHTED) for part in module.modules())
