"""Copies without contents: of a denoiser, and of the arguments of a call.

With them the code of a model makes a pass that computes nothing, needs no memory, and leaves the
model itself alone.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from frdiff.network.calls import outline

__all__ = ["HOOKS", "Example", "settings_of", "skeleton"]

SMALL = 4096  # elements of a tensor whose contents are remembered at little cost

# What our patch and the offloading of accelerate and diffusers leave on modules.
HOOKS = ("forward", "_old_forward", "_hf_hook", "_diffusers_hook", "_frdiff_patch")


class Example:
    """The arguments of a denoiser call, without the memory that they took.

    Fake tensors, shapes and types without contents, stand in for all but numbers of which the
    denoiser's code may want to know the contents: masks, positions, timesteps.

    Args:
        args, kwargs: of the call; they are not kept.

    Attributes:
        shapes: their outline, see `frdiff.network.calls.outline`.
        types: of all tensors among them but numbers, whose type tells nothing of what becomes of
            others (timesteps of one solver are whole, of another not), and whether they are cast
            by `torch.autocast`.
    """

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._call = tree_map_only(Tensor, self._remembered, (args, dict(kwargs)))
        self.shapes = outline((args, kwargs))
        fakes = (leaf.fake for leaf in tree_leaves(self._call) if _is_remembered(leaf))
        given = [fake.dtype for fake in fakes if fake.dim()]
        kind = self.device.type
        casts = kind != "meta" and torch.is_autocast_enabled(kind)
        self.types = tuple(given), casts

    def _remembered(self, tensor: Tensor) -> "_Remembered":
        wanted = not tensor.is_floating_point() or tensor.numel() <= SMALL
        known = wanted and not tensor.is_meta
        return _Remembered(
            self.mode.from_tensor(tensor), tensor.detach().to("cpu", copy=True) if known else None
        )

    @property
    def device(self) -> torch.device:
        """Where the call ran."""
        for held in tree_leaves(self._call):
            if _is_remembered(held):
                return held.fake.device
        return torch.device("cpu")

    def fake(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments and named arguments: whole numbers as remembered, fake tensors for the rest."""
        return tree_map_only(_Remembered, _Remembered.known, self._call)

    def real(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments and named arguments with the contents remembered, zeros where none are."""
        return tree_map_only(_Remembered, _Remembered.real, self._call)


@dataclass(frozen=True)
class _Remembered:
    fake: Tensor
    contents: Tensor | None

    def known(self) -> Tensor:
        if self.contents is None or self.fake.is_floating_point():
            return self.fake
        with unset_fake_temporarily():
            return self.contents.to(self.fake.device, copy=True)

    def real(self) -> Tensor:
        if self.contents is not None:
            return self.contents.to(self.fake.device)
        return torch.zeros(self.fake.shape, dtype=self.fake.dtype, device=self.fake.device)


def _is_remembered(leaf: Any) -> TypeGuard[_Remembered]:
    return isinstance(leaf, _Remembered)


def skeleton(denoiser: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a module with fake weights on `device` and without anybody's hooks."""
    known: dict[int, Any] = {
        id(weight): nn.Parameter(_hollow(weight, device), requires_grad=False)
        for weight in denoiser.parameters()
    }
    for module in denoiser.modules():
        for name in HOOKS:
            hook = module.__dict__.get(name)
            known[id(hook)] = hook  # shared, not copied: offloading hooks hold real weights
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            known[id(hooks)] = OrderedDict()
    with _HollowCopies(device):
        found = copy.deepcopy(denoiser, known)
    for module in found.modules():
        for name in HOOKS:
            module.__dict__.pop(name, None)
    return found


def settings_of(modules: Mapping[str, nn.Module]) -> int:
    """A number that changes with switches and strengths that are set on modules, such as FreeU's.

    Whole numbers are left out: some modules count their calls.
    """
    plain = bool | float | str | None
    return hash(
        tuple(
            (name, key, value)
            for name, module in modules.items()
            for key, value in vars(module).items()
            if isinstance(value, plain) and not key.startswith("_")
        )
    )


def _hollow(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


class _HollowCopies(TorchFunctionMode):
    """Deep copies of tensors are fake, wherever a module holds them; short whole numbers are not.

    Some models hold tensors that are no buffers, such as tables of positions.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta)
        if whole and tensor.numel() <= SMALL:
            with unset_fake_temporarily():
                found = tensor.detach().to(self.device, copy=True)
        else:
            found = _hollow(tensor, self.device)
        memo[id(tensor)] = found
        return found
