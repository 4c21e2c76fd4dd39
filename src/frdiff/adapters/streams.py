"""Streams: which input a module passes on and adds to, for every tensor that it returns.

A block of a transformer takes one or more streams of tokens (pictures, texts, sounds), adds
something to each, and returns them, often in another order. Names tell which is which where the
source returns its own parameters, as `return encoder_hidden_states, hidden_states` does; otherwise
shapes do.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

__all__ = ["Inputs", "Streams", "streams_of"]

Inputs = tuple[tuple, dict[str, Any]]
"""The positional and the named arguments of a call."""


@dataclass(frozen=True)
class Streams:
    """What the source of a module says about its inputs and outputs.

    Attributes:
        parameters: names of its inputs, in order.
        returned: names of what it returns, by how many there are; None for an expression.
    """

    parameters: tuple[str, ...]
    returned: Mapping[int, tuple[str | None, ...]]

    def bases(self, inputs: Inputs, form: Any, shapes: Sequence[Any]) -> list[Tensor | None]:
        """For every tensor returned, the input that it adds to; None for what is new.

        Args:
            inputs: of the call.
            form: what is returned, see `frdiff.network.trees.form_of`.
            shapes: of the tensors returned.
        """
        args, kwargs = inputs
        given = dict(zip(self.parameters, args, strict=False)) | kwargs
        free = {
            name: value
            for name, value in given.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        names = self._names(form, len(shapes))
        # A single output is matched by shape: sources often return it under another name.
        named = len(names) > 1 and any(name in self.parameters for name in names)
        found: list[Tensor | None] = []
        for name, shape in zip(names, shapes, strict=True):
            if not named:
                name = next(
                    (key for key, value in free.items() if _alike(value.shape, shape)), None
                )
            elif name not in free or not _alike(free[name].shape, shape):
                name = None
            found.append(None if name is None else free.pop(name))
        return found

    def _names(self, form: Any, count: int) -> list[str | None]:
        """One per tensor of a form."""
        parts = form if isinstance(form, tuple | list) else (form,)
        names = self.returned.get(len(parts), (None,) * len(parts))
        found: list[str | None] = []
        for part, name in zip(parts, names, strict=True):
            if part is ...:
                found.append(name)
        return found if len(found) == count else [None] * count


def _alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two shapes are the same, as far as a compiler knows them."""
    if len(one) != len(other):
        return False
    return not any(statically_known_true(a != b) for a, b in zip(one, other, strict=True))


def streams_of(module: nn.Module) -> Streams:
    """What the source of the forward of `module` says."""
    forward = type(module).forward
    parameters = tuple(inspect.signature(forward).parameters)[1:]
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(forward)))
        (function,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return Streams(parameters, {})  # compiled or generated: shapes must do
    returned = {}
    for value in _returns(function):
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        names = tuple(part.id if isinstance(part, ast.Name) else None for part in parts)
        returned[len(names)] = names
    return Streams(parameters, returned)


def _returns(node: ast.AST) -> Iterator[ast.expr]:
    """What the statements of a function return, without those of functions within."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return) and child.value is not None:
            yield child.value
        elif not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield from _returns(child)
