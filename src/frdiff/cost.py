"""Costs: MACs and stored bytes of a denoiser call, in full and on a reuse step.

What is counted is the code that runs: a copy of the denoiser without weights makes both passes on
fake tensors, which computes nothing, needs no memory and leaves the denoiser itself alone. A MAC is
one multiply-accumulate; embeddings, norms and element-wise work count as none.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from frdiff.calls import tensors_within
from frdiff.denoisers import find_denoisers
from frdiff.patch import DenoiserPatch
from frdiff.plan import Action, Step
from frdiff.policy import Policy
from frdiff.sampling import sample

__all__ = ["CPU_ATTENTION", "CallCost", "Example", "TargetCost", "call_cost", "first_call_cost"]

# What our patch and the offloading of accelerate and diffusers leave on modules.
_HOOKS = ("forward", "_old_forward", "_hf_hook", "_diffusers_hook", "_frdiff_patch")


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **kwargs: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))


# Without this the counter takes attention on the CPU for free.
CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class Example:
    """The arguments of a denoiser call as fake tensors: shapes and types without contents."""

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.args, self.kwargs = tree_map_only(
            torch.Tensor, self.mode.from_tensor, (args, dict(kwargs))
        )

    @property
    def device(self) -> torch.device:
        """Where the call ran."""
        return next(tensors_within((self.args, self.kwargs))).device


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

    def partial_macs(self, skipped: Sequence[bool]) -> int:
        """MACs of a reuse step that skips only some targets.

        Args:
            skipped: one per target.
        """
        rows = zip(self.targets, skipped, strict=True)
        return self.reuse_macs + sum(row.macs - row.reuse_macs for row, skip in rows if not skip)

    @property
    def feature_bytes(self) -> int:
        """Bytes of one keyframe's features, all targets together."""
        return sum(target.feature_bytes for target in self.targets)


def call_cost(denoiser: nn.Module, policy: Policy, example: Example) -> CallCost:
    """The cost of a call with the shapes of `example`, in full and on a reuse step.

    Args:
        denoiser: patched or not; it is neither run nor changed.
        policy: its targets are counted.
    """
    with example.mode, torch.no_grad():
        skeleton = _skeleton(denoiser, example.device)
        patch = DenoiserPatch(skeleton, policy, _NoLoop(), lambda: None)
        patch.stores = True
        full = _count(patch, example)
        patch.end_step()
        patch.bank.commit(0.0, keyframe=True)
        # In module order again, whatever their groups.
        slots = [iter(shelf.slots) for shelf in patch.bank.contexts[0].shelves]
        features = [next(slots[group]).history[:1] for group in patch.groups]
        patch.prepare(Step(Action.REUSE), 1.0)
        reuse = _count(patch, example)
    root = type(skeleton).__name__
    rows = tuple(
        TargetCost(
            target.name,
            full.get(f"{root}.{target.name}", 0),
            reuse.get(f"{root}.{target.name}", 0),
            sum(tensor.numel() * tensor.element_size() for part in feature for tensor in part),
        )
        for target, feature in zip(patch.targets, features, strict=True)
    )
    return CallCost(full.get("Global", 0), reuse.get("Global", 0), rows)


class _NoLoop:
    scheduler = None


def _skeleton(denoiser: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a module with fake weights on `device` and without anybody's hooks."""
    known: dict[int, Any] = {}
    for weight in (*denoiser.parameters(), *denoiser.buffers()):
        fake = torch.empty(weight.shape, dtype=weight.dtype, device=device)
        known[id(weight)] = (
            nn.Parameter(fake, requires_grad=False) if isinstance(weight, nn.Parameter) else fake
        )
    for module in denoiser.modules():
        for name in _HOOKS:
            hook = module.__dict__.get(name)
            known[id(hook)] = hook  # shared, not copied: offloading hooks hold real weights
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            known[id(hooks)] = OrderedDict()
    skeleton = copy.deepcopy(denoiser, known)
    for module in skeleton.modules():
        for name in _HOOKS:
            module.__dict__.pop(name, None)
    return skeleton


def _count(patch: DenoiserPatch, example: Example) -> dict[str, int]:
    """MACs by module name, `"Global"` for all."""
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    # Compiled blocks within the denoiser would refuse a counter.
    with torch.compiler.set_stance("force_eager"), counter:
        patch.denoiser(*example.args, **example.kwargs)
    return {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}


class _Captured(Exception):
    """Carries the arguments of a denoiser's first call out of a pipeline."""


def first_call_cost(pipe: DiffusionPipeline, policy: Policy) -> dict[str, CallCost]:
    """The cost of a denoiser call of `pipe` at its default size, by component name.

    The pipeline runs up to the first call of each denoiser and no further. One that is not called
    within two steps is left out.

    Args:
        policy: its targets are counted.
    """

    def capture(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        raise _Captured(args, kwargs)

    costs: dict[str, CallCost] = {}
    for name, denoiser in find_denoisers(pipe).items():
        handle = denoiser.register_forward_pre_hook(capture, with_kwargs=True)
        try:
            sample(pipe, ["0"], steps=2)
        except _Captured as call:
            costs[name] = call_cost(denoiser, policy, Example(*call.args))
        finally:
            handle.remove()
    return costs
