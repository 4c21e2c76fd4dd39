"""The flow of tensors through one pass of a denoiser: what is computed from what, and where.

Operations are seen one by one as they are dispatched, with the memory that they read and write and
the modules they run in. Tensors that share memory count as one, so a view reads what it shows.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from frdiff.network.calls import tensors_within
from frdiff.network.trees import tensors_in

__all__ = ["Dataflow", "Operation", "Return"]

CHANNELS = 1  # the dimension


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        within: modules of interest that it ran in, outermost first.
        reads, writes: memory, by number; a view writes nothing.
        joined: of every tensor that it lays side by side, its memory and how many channels it has;
            none if it does something else.
        traffic: bytes of the tensors that it reads and writes; a view moves none.
    """

    within: tuple[nn.Module, ...]
    reads: frozenset[int]
    writes: frozenset[int]
    joined: tuple[tuple[frozenset[int], int], ...] = ()
    traffic: int = 0


@dataclass(frozen=True)
class Return:
    """The end of a call of a module of interest.

    Attributes:
        module: that returned.
        inputs: its arguments, by place and by name.
        result: what it returned.
    """

    module: nn.Module
    inputs: tuple[tuple, dict[str, Any]]
    result: Any


class Dataflow(TorchDispatchMode):
    """Notes the operations that run while it is entered, and the returns of modules, in order.

    Of tensors it holds on to what the modules that it watches take and return, and to no other.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Operation | Return] = []
        self._within: list[nn.Module] = []
        self._numbers: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._count = itertools.count()

    def memory(self, tree: Any) -> frozenset[int]:
        """The memory of all tensors in arguments or results, by number."""
        found = set()
        for tensor in (*tensors_within(tree), *tensors_in(tree)):
            storage = tensor.untyped_storage()
            if storage not in self._numbers:
                self._numbers[storage] = next(self._count)
            found.add(self._numbers[storage])
        return frozenset(found)

    @contextmanager
    def watching(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """While it lasts, calls of these modules are noted."""
        with ExitStack() as stack:
            for module in modules:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                end = partial(self._end)
                hook = module.register_forward_hook(end, with_kwargs=True)
                stack.callback(hook.remove)
            yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        reads = self.memory((args, kwargs))
        changed = self.memory(list(_changed(func, args, kwargs)))
        writes = (self.memory(result) - reads) | changed
        joined: tuple[tuple[frozenset[int], int], ...] = ()
        if func is torch.ops.aten.cat.default and args[1:] == (CHANNELS,):
            joined = tuple((self.memory(part), part.shape[CHANNELS]) for part in args[0])
        moved = (*tensors_within((args, kwargs)), *tensors_in(result)) if writes else ()
        traffic = sum(tensor.nbytes for tensor in moved)
        self.events.append(Operation(tuple(self._within), reads, writes, joined, traffic))
        return result

    def _enter(self, module: nn.Module, args: tuple) -> None:
        self._within.append(module)

    def _end(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        self._within.pop()
        self.events.append(Return(module, (args, kwargs), result))


def _changed(func: Any, args: tuple, kwargs: dict[str, Any]) -> Iterator[Any]:
    """The arguments that an operation changes in place."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for place, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[place] if place < len(args) else kwargs.get(argument.name)
