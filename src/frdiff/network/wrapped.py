"""Methods wrapped on one instance, so that copies and saved files of it are plain."""

import copy
import functools
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

__all__ = ["Wrapped", "may_be_compiled"]


class Wrapped:
    """A method of a scheduler, pipeline or module, wrapped on the instance until `restore`.

    A copy of the instance, deep or through a file, gets its own method back: it would otherwise
    compute with the original's weights, or count the original's steps.

    Args:
        owner: the attribute `name` of this instance is replaced.
        wrapper: what is called instead; it finds the method in use before as its `before`.
    """

    def __init__(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        functools.update_wrapper(self, getattr(owner, name))
        self.owner = owner
        self.name = name
        self._wrapper = wrapper
        self._replaced = vars(owner).get(name)
        setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(*args, **kwargs)

    @property
    def on_top(self) -> bool:
        """Whether nobody has wrapped the method since."""
        return vars(self.owner).get(self.name) is self

    def restore(self) -> None:
        """Put back what was there before; what somebody else set over it since stays."""
        if not self.on_top:
            return
        if self._replaced is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self._replaced)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo.get(id(self.owner))
        if copied is None:
            return self
        if self._replaced is not None:
            return copy.deepcopy(self._replaced, memo)
        return MethodType(getattr(type(copied), self.name), copied)

    def __reduce__(self) -> Any:
        if self._replaced is not None:
            return _itself, (self._replaced,)
        return getattr, (self.owner, self.name)


def may_be_compiled() -> bool:
    """Whether anything was compiled with `torch.compile` so far; true if that cannot be told."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    if dynamo is None:
        return False
    backends = getattr(dynamo, "cached_backends", None)
    # What is kept from compiling, as parts of diffusers are, is noted with no backend.
    return backends is None or any(backend is not None for backend in backends.values())


def _itself(method: Any) -> Any:
    return method
