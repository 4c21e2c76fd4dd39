"""Costs: MACs and stored bytes of a denoiser call, in full and on a reuse step.

Both passes run on fake tensors, so counting computes nothing and needs no memory, and what is
counted is the very code that runs. A MAC is one multiply-accumulate; embeddings, norms and
element-wise work count as none.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from frdiff.denoisers import find_denoisers
from frdiff.patch import DenoiserPatch
from frdiff.plan import Action
from frdiff.policy import Policy
from frdiff.sampling import sample

__all__ = ["CallCost", "Example", "TargetCost", "call_cost", "first_call_cost"]


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **kwargs: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# Without this the counter takes attention on the CPU for free.
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class Example:
    """The arguments of a denoiser call as fake tensors: shapes and types without contents."""

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.args, self.kwargs = tree_map_only(
            torch.Tensor, self.mode.from_tensor, (args, dict(kwargs))
        )


@dataclass(frozen=True)
class TargetCost:
    """What one target costs.

    Attributes:
        name: dotted module name.
        macs: MACs of the module in a full pass.
        reuse_macs: MACs that remain of it on a reuse step, for its skip path.
        feature_bytes: bytes of one stored feature.
    """

    name: str
    macs: int
    reuse_macs: int
    feature_bytes: int


@dataclass(frozen=True)
class CallCost:
    """What one denoiser call costs.

    Attributes:
        macs: MACs in full.
        reuse_macs: MACs on a reuse step.
        targets: one row per target, in module order.
    """

    macs: int
    reuse_macs: int
    targets: tuple[TargetCost, ...]

    @property
    def reuse_ratio(self) -> float:
        """Cost of one reuse step / cost of one full step. The lower, the more reuse is worth."""
        return self.reuse_macs / self.macs if self.macs else 1.0

    @property
    def feature_bytes(self) -> int:
        """Bytes of one keyframe's features, all targets together."""
        return sum(target.feature_bytes for target in self.targets)


def call_cost(patch: DenoiserPatch, example: Example) -> CallCost:
    """The cost of a call with the shapes of `example`, in full and on a reuse step."""
    with _rehearsal(patch), example.mode, torch.no_grad():
        patch.action = Action.KEYFRAME
        full = _count(patch, example)
        patch.end_step()
        patch.bank.commit(0.0, keyframe=True)
        features = [slot.history[:1] for slot in patch.bank.contexts[0].slots]
        patch.bank.aim(1.0)
        patch.action = Action.REUSE
        reuse = _count(patch, example)
    root = type(patch.denoiser).__name__
    rows = tuple(
        TargetCost(
            target.name,
            full.get(f"{root}.{target.name}", 0),
            reuse.get(f"{root}.{target.name}", 0),
            sum(tensor.numel() * tensor.element_size() for tensor in feature),
        )
        for target, feature in zip(patch.targets, features, strict=True)
    )
    return CallCost(full.get("Global", 0), reuse.get("Global", 0), rows)


def _count(patch: DenoiserPatch, example: Example) -> dict[str, int]:
    """MACs by module name, `"Global"` for all."""
    counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
    # Compiled blocks within the denoiser would refuse a counter.
    with torch.compiler.set_stance("force_eager"), counter:
        patch.denoiser(*example.args, **example.kwargs)
    return {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}


@contextlib.contextmanager
def _rehearsal(patch: DenoiserPatch) -> Iterator[None]:
    """Lend the patch an empty bank for calls outside any run; a run in progress goes on after."""
    was_attached = patch.attached
    if not was_attached:
        patch.attach()
    kept = {name: getattr(patch, name) for name in DenoiserPatch.STATE}
    patch.start()
    patch.on_call, patch.stores = _nothing, True
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(patch, name, value)
        if not was_attached:
            patch.detach()


def _nothing() -> None:
    pass


class _Captured(Exception):
    """Carries the arguments of a denoiser's first call out of a pipeline."""


def first_call_cost(pipe: DiffusionPipeline, policy: Policy) -> dict[str, CallCost]:
    """The cost of a denoiser call of `pipe` at its default size, by denoiser class name.

    The pipeline runs up to its first denoiser call and no further.

    Args:
        policy: its targets are counted.
    """
    costs: dict[str, CallCost] = {}

    def capture(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        raise _Captured(args, kwargs)

    for denoiser in find_denoisers(pipe):
        handle = denoiser.register_forward_pre_hook(capture, with_kwargs=True)
        try:
            sample(pipe, ["0"], steps=2)
        except _Captured as call:
            example = Example(*call.args)
        finally:
            handle.remove()
        patch = DenoiserPatch(denoiser, policy, pipe, _nothing)
        try:
            costs[type(denoiser).__name__] = call_cost(patch, example)
        finally:
            patch.detach()
    return costs
