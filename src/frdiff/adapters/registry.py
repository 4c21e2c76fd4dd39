"""The search for the targets that a policy names, and adapters for where structure misleads."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from torch import nn

from frdiff.adapters.sets import targets_in, whole_target
from frdiff.adapters.structure import Kind, Unit, kind_of
from frdiff.adapters.target import Target, output
from frdiff.policy import Targets
from frdiff.policy.base import FIRST, SETS_IN_LISTS

__all__ = ["find_targets", "grouped", "register_adapter"]

Adapter = Callable[[nn.Module, str], list[Target]]
_ADAPTERS: dict[str, Adapter] = {}


def register_adapter(*class_names: str) -> Callable[[Adapter], Adapter]:
    """A decorator that makes a function the adapter of denoiser classes, named by string.

    Targets are found by structure (see `frdiff.adapters.sets`); an adapter is for a denoiser whose
    structure misleads. It takes the denoiser and one of `"paper"`, `"residual"` and `"all"`, and
    returns targets in module order, made with `frdiff.adapters.whole`, `output` and their kin:

        @frdiff.register_adapter("MyTransformer")
        def my_targets(transformer, targets):
            return [whole(f"layers.{i}", layer) for i, layer in enumerate(transformer.layers)]

    It serves subclasses too, until another adapter is registered for them.
    """

    def add(adapter: Adapter) -> Adapter:
        _ADAPTERS.update(dict.fromkeys(class_names, adapter))
        return adapter

    return add


def find_targets(denoiser: nn.Module, targets: Targets) -> list[Target]:
    """The targets of a denoiser, in module order; never empty.

    Args:
        denoiser: the network called in the sampling loop.
        targets: a set such as `"all"`, or shell wildcards over module names. Of matches within
            one another the outermost counts: the inner ones are not run on a reuse step. In a list
            `"<all>"` is the set and wildcards after `!` are exceptions: `["<all>", "!mid_block*"]`.

    Raises:
        ValueError: nothing in it that a set means, or a wildcard that matches no module whose
            output could be stored.
    """
    if isinstance(targets, str):
        names = [cls.__name__ for cls in type(denoiser).__mro__]
        adapter = next((_ADAPTERS[name] for name in names if name in _ADAPTERS), targets_in)
        found = adapter(denoiser, targets)
    else:
        found = _listed(denoiser, targets)
    if not found:
        raise ValueError(
            f"{type(denoiser).__name__} has no targets {targets!r}: none of its modules is a "
            "residual block or has attention among its parts, so nothing would be reused; pass "
            "wildcards over its module names (denoiser.named_modules() lists them), or make an "
            "adapter with frdiff.register_adapter"
        )
    return found


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def grouped(targets: Sequence[_Named], groups: Sequence[Sequence[str]]) -> list[int]:
    """The number of each target's group: the first with a wildcard that matches its name.

    Args:
        targets: or their costs, in the same order.
        groups: wildcards over target names, group by group; `"<first>"` matches the first target
            of all, whatever its name.

    Raises:
        ValueError: a target that no group names, or a group without a target.
    """

    def number_of(name: str) -> int:
        for number, patterns in enumerate(groups):
            first = FIRST in patterns and name == targets[0].name
            if first or any(fnmatchcase(name, pattern) for pattern in patterns):
                return number
        raise ValueError(f"target {name} is in no group; add a wildcard that matches it")

    numbers = [number_of(target.name) for target in targets]
    empty = sorted(set(range(len(groups))) - set(numbers))
    if empty:
        raise ValueError(
            f"no target of this model is in group {empty[0]}, {list(groups[empty[0]])}: the policy "
            "was made for another model"
        )
    return numbers


def _listed(denoiser: nn.Module, targets: Sequence[str]) -> list[Target]:
    """What a list names: a set or wildcards, without exceptions."""
    named = [one for one in targets if not one.startswith("!")]
    exceptions = [one[1:] for one in targets if one.startswith("!")]
    chosen = SETS_IN_LISTS.get(named[0])
    found = _match(denoiser, named) if chosen is None else find_targets(denoiser, chosen)
    for one in exceptions:
        if not any(fnmatchcase(target.name, one) for target in found):
            raise ValueError(
                f"the exception {'!' + one!r} matches no target of {type(denoiser).__name__}; "
                f"they have names such as {_some([target.name for target in found])}"
            )
    return [t for t in found if not any(fnmatchcase(t.name, one) for one in exceptions)]


def _match(denoiser: nn.Module, patterns: list[str]) -> list[Target]:
    modules = {name: module for name, module in denoiser.named_modules() if name}
    # Lists of modules are never called themselves, so nothing of theirs could be stored.
    callable_modules = {name: module for name, module in modules.items() if _is_called(module)}
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in callable_modules):
            continue
        lists = [name for name in modules if fnmatchcase(name, pattern)]
        if lists:
            inside = [name for name in callable_modules if name.startswith(f"{lists[0]}.")]
            raise ValueError(
                f"targets {pattern!r} matches {lists[0]}, a list of modules, whose output cannot "
                f"be stored; choose modules inside it, such as {_some(inside)}"
            )
        raise ValueError(
            f"targets {pattern!r} matches no module of {type(denoiser).__name__}; its modules "
            f"have names such as {_some(list(callable_modules))}"
        )
    found: list[Target] = []
    for name, module in callable_modules.items():
        inside_another = any(name.startswith(target.name + ".") for target in found)
        if not inside_another and any(fnmatchcase(name, pattern) for pattern in patterns):
            kind = kind_of(module)
            if kind is None or kind is Kind.SAMPLER:
                found.append(output(name, module))
            else:
                found.append(whole_target(Unit(name, module, kind)))
    return found


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _some(names: list[str]) -> str:
    """A few of them, from all over."""
    return ", ".join(names[:: max(len(names) // 5, 1)][:6])
