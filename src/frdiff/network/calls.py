"""Calls of modules and schedulers: what identifies them, and the tensor that comes back."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from frdiff.network.trees import tensors_in

__all__ = [
    "copied",
    "first_input",
    "outline",
    "same_memory",
    "sample_in",
    "tensor_of",
    "tensors_within",
]


def first_input(args: tuple, kwargs: dict[str, Any]) -> Any:
    """The first argument, whether it was given by place or by name."""
    return args[0] if args else next(iter(kwargs.values()))


def outline(arguments: Any) -> Any:
    """What the shapes of a network's features follow from, of its arguments.

    The shape of every tensor in them, however deep in lists and dictionaries; texts, switches and
    what is left out; of all else only that it is there, since numbers may change with the step.
    """
    if isinstance(arguments, Tensor):
        return tuple(arguments.shape)
    if isinstance(arguments, dict):
        return tuple((name, outline(value)) for name, value in arguments.items())
    if isinstance(arguments, tuple | list):
        return tuple(outline(value) for value in arguments)
    if arguments is None or isinstance(arguments, bool | str):
        return arguments
    return ...


def copied(arguments: Any) -> Any:
    """The arguments in lists and dictionaries of their own, which a network cannot empty."""
    if type(arguments) is dict:
        return {name: copied(value) for name, value in arguments.items()}
    if type(arguments) in (tuple, list):
        return type(arguments)([copied(value) for value in arguments])
    return arguments


def tensors_within(arguments: Any) -> Iterator[Tensor]:
    """All tensors in arguments or results, however deep in lists and dictionaries."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, dict):
        for value in arguments.values():
            yield from tensors_within(value)
    elif isinstance(arguments, tuple | list):
        for value in arguments:
            yield from tensors_within(value)


def sample_in(inputs: Any) -> Tensor | None:
    """The sample that a denoiser's call is given: the first floating tensor of its arguments."""
    return next(iter(tensors_in(inputs)), None)


def same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one, or views of the same part of one."""
    if one is other:
        return True
    alike = one.dtype == other.dtype and one.device == other.device and one.shape == other.shape
    return alike and one.is_set_to(other)


def tensor_of(result: Any) -> Tensor:
    """The score or sample in what is returned: a tensor, or the first of a tuple or an output."""
    return result if isinstance(result, Tensor) else result[0]
