"""Ranks: one model on several devices, each of which has a part of every sequence."""

from typing import Any

from diffusers.hooks.context_parallel import ContextParallelGatherHook, ContextParallelSplitHook
from torch import nn

__all__ = ["within_ranks"]


def within_ranks(module: nn.Module) -> Any:
    """What has the `forward` of a module that sees this rank's part alone.

    That is the module itself, but where diffusers' context parallelism splits what it is given or
    gathers what it returns: there it is what lies within. So a bank holds the part of its rank, and
    no rank need know of another.
    """
    registry = getattr(module, "_diffusers_hook", None)
    for hook in getattr(registry, "hooks", {}).values():  # the first to be set lies innermost
        if isinstance(hook, ContextParallelSplitHook | ContextParallelGatherHook):
            return hook.fn_ref
    return module
