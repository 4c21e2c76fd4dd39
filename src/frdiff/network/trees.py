"""Trees of tensors: whatever a module returns, taken apart and put together again.

A tree is a tensor, a tuple, a list, a dictionary or a dataclass of trees, such as diffusers'
outputs; anything else in it is a constant. What is stored, forecast and mixed are the floating
tensors in it, in order; the rest is its form. Written in plain Python, so that `torch.compile`
traces it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["filled", "form_of", "mapped", "tensors_in"]


def mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """The tree with `change` made to each of its floating tensors, in order."""
    if tree is None:  # torch up to 2.11 cannot trace whether it is a dataclass
        return None
    if isinstance(tree, Tensor):
        return change(tree) if tree.is_floating_point() or tree.is_complex() else tree
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(**{name: mapped(value, change) for name, value in _entries(tree)})
    if isinstance(tree, dict):
        rows = {key: mapped(value, change) for key, value in tree.items()}
        return type(tree)(rows)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[mapped(part, change) for part in tree])
    if isinstance(tree, tuple | list):
        return type(tree)([mapped(part, change) for part in tree])
    return tree


def tensors_in(tree: Any) -> tuple[Tensor, ...]:
    """The floating tensors of a tree, in order."""
    found: list[Tensor] = []
    mapped(tree, found.append)
    return tuple(found)


def form_of(tree: Any) -> Any:
    """The tree with `...` in the place of every floating tensor."""
    return mapped(tree, lambda tensor: ...)


def filled(form: Any, tensors: Sequence[Tensor]) -> Any:
    """The tree of a form, with `tensors` in the places that are free, in order."""
    return _filled(form, iter(tensors))


def _filled(form: Any, tensors: Iterator[Tensor]) -> Any:
    if form is ...:
        return next(tensors)
    if form is None:
        return None
    if is_dataclass(form) and not isinstance(form, type):
        return type(form)(**{name: _filled(value, tensors) for name, value in _entries(form)})
    if isinstance(form, dict):
        rows = {key: _filled(value, tensors) for key, value in form.items()}
        return type(form)(rows)
    if isinstance(form, tuple) and hasattr(form, "_fields"):
        return type(form)(*[_filled(part, tensors) for part in form])
    if isinstance(form, tuple | list):
        return type(form)([_filled(part, tensors) for part in form])
    return form


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass, those that are None too."""
    for field in fields(tree):
        yield field.name, getattr(tree, field.name)
