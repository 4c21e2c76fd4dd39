"""Calls of modules and schedulers: the input that is meant, and the tensor that comes back."""

from typing import Any

from torch import Tensor

__all__ = ["first_input", "pack", "tensor_of"]


def first_input(args: tuple, kwargs: dict[str, Any]) -> Any:
    """The first argument, whether it was given by place or by name."""
    return args[0] if args else next(iter(kwargs.values()))


def tensor_of(result: Any) -> Tensor:
    """The score or sample in what is returned: a tensor, or the first of a tuple or an output."""
    return result if isinstance(result, Tensor) else result[0]


def pack(container: Any, score: Tensor) -> Any:
    """The score in a container of the type that the denoiser returns."""
    if issubclass(container, Tensor):
        return score
    if issubclass(container, tuple):
        return (score,)
    return container(score)
