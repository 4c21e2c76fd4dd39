"""What each set of targets means, on every denoiser: written once, here.

| | ResNet blocks | transformer blocks | stacks, other blocks | samplers |
|---|---|---|---|---|
| `"paper"` | what `conv1` returns | attentions, before their gates | all they add | run |
| `"residual"` | the branch, up to `conv2` | MLPs, too, before their gates | all they add | run |
| `"all"` | the branch, up to `conv2` | all they add to each stream | all they add | kept |

`"paper"` is as published: the new timestep enters a ResNet block after `conv1`, and a transformer
block through its gates. `"residual"` is cheaper and closer. `"all"` skips norms and modulation of
transformer blocks too: few MACs, but a good part of the seconds that a reuse step takes; and behind
an up-sampler of a U-Net only the skip connections are then fresh, down to the finest level.
"""

from collections.abc import Iterator

from torch import nn

from frdiff.adapters.structure import (
    Kind,
    Unit,
    attentions,
    branches,
    loose_mlp,
    units_of,
)
from frdiff.adapters.target import Target, attention, branch, output, whole

__all__ = ["targets_in", "whole_target"]


def targets_in(denoiser: nn.Module, targets: str) -> list[Target]:
    """The targets of a set, in module order.

    Args:
        targets: one of `frdiff.policy.base.TARGET_SETS`.
    """
    return [found for unit in units_of(denoiser) for found in _targets(unit, targets)]


def _targets(unit: Unit, targets: str) -> Iterator[Target]:
    if unit.kind is Kind.SAMPLER:
        if targets == "all":
            yield output(unit.name, unit.module)
    elif unit.kind is Kind.BLOCK and targets != "all":
        yield from _parts(unit, targets)
    elif unit.kind is Kind.RESNET and targets == "paper":
        # Stopping at conv1 lets the time embedding of the current step enter after it.
        yield output(f"{unit.name}.conv1", unit.module.get_submodule("conv1"))
    else:
        yield whole_target(unit)


def _parts(block: Unit, targets: str) -> Iterator[Target]:
    parts = attentions(block.module) if targets == "paper" else branches(block.module)
    loose = loose_mlp(block.module) if targets == "residual" else None
    if loose is not None:
        name, last, before = loose
        # It takes the attention's output, too, where it takes more than the layer before it gives.
        ends_both = last.in_features > before[0].out_features
        idle = [*attentions(block.module).values()] if ends_both else []
        parts = {} if ends_both else parts
        yield output(f"{block.name}.{name}", last, (*idle, *before))
    for name, part in parts.items():
        yield output(f"{block.name}.{name}", part)


def whole_target(unit: Unit) -> Target:
    """The target that keeps the skip path of a unit fresh."""
    if unit.kind is Kind.RESNET:
        return branch(unit.name, unit.module)
    if unit.kind is Kind.ATTENTION:
        return attention(unit.name, unit.module)
    return whole(unit.name, unit.module)
