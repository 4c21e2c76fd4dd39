"""Trees of tensors: whatever a module returns, taken apart and put together again.

A tree is a tensor, a tuple, a list, a dictionary or one of diffusers' outputs, of trees; anything
else in it is a constant. What is stored, forecast and mixed are the floating tensors in it, in
order; the rest is its form. Written in plain Python, so that `torch.compile` traces it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

__all__ = ["copied", "filled", "form_of", "mapped", "tensors_in"]


def mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """The tree with `change` made to each of its floating tensors, in order."""
    if isinstance(tree, Tensor):
        return change(tree) if tree.is_floating_point() or tree.is_complex() else tree
    if isinstance(tree, dict):  # diffusers' outputs are dictionaries too
        rows = {key: mapped(value, change) for key, value in tree.items()}
        return rows if type(tree) is dict else type(tree)(**rows)
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


def copied(tree: Any) -> Any:
    """The tree with containers of its own and the same tensors."""
    return mapped(tree, lambda tensor: tensor)


def form_of(tree: Any) -> Any:
    """The tree with `...` in the place of every floating tensor."""
    return mapped(tree, lambda tensor: ...)


def filled(form: Any, tensors: Sequence[Tensor]) -> Any:
    """The tree of a form, with `tensors` in the places that are free, in order."""
    return _filled(form, iter(tensors))


def _filled(form: Any, tensors: Iterator[Tensor]) -> Any:
    if form is ...:
        return next(tensors)
    if isinstance(form, dict):
        rows = {key: _filled(value, tensors) for key, value in form.items()}
        return rows if type(form) is dict else type(form)(**rows)
    if isinstance(form, tuple) and hasattr(form, "_fields"):
        return type(form)(*[_filled(part, tensors) for part in form])
    if isinstance(form, tuple | list):
        return type(form)([_filled(part, tensors) for part in form])
    return form
