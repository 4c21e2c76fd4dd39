"""The registry of model families, and the search for the targets a policy names."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from frdiff.adapters.target import Target, whole_residual
from frdiff.policy import Targets
from frdiff.policy.base import FIRST

__all__ = ["find_targets", "grouped", "known_models", "register"]

Adapter = Callable[[nn.Module, str], list[Target]]
_ADAPTERS: dict[str, Adapter] = {}


def register(*class_names: str) -> Callable[[Adapter], Adapter]:
    """A decorator that makes a function the adapter of denoiser classes, named by string.

    The function takes a denoiser and one of `policy.TARGET_SETS` and returns targets.
    """

    def add(adapter: Adapter) -> Adapter:
        _ADAPTERS.update(dict.fromkeys(class_names, adapter))
        return adapter

    return add


def known_models() -> list[str]:
    """Names of the denoiser classes that have an adapter."""
    return sorted(_ADAPTERS)


def find_targets(denoiser: nn.Module, targets: Targets) -> list[Target]:
    """The targets of a denoiser, in module order; never empty.

    Args:
        denoiser: the network called in the sampling loop.
        targets: a set such as `"all"`, or shell wildcards over module names. Of matches within
            one another the outermost counts: the inner ones are not run on a reuse step.

    Raises:
        ValueError: no adapter for this class, or a wildcard that matches no module.
    """
    if isinstance(targets, str):
        names = [cls.__name__ for cls in type(denoiser).__mro__]
        adapter = next((_ADAPTERS[name] for name in names if name in _ADAPTERS), None)
        if adapter is None:
            raise ValueError(
                f"no adapter for {names[0]}; known: {', '.join(known_models())}. Add "
                "src/frdiff/adapters/<family>.py with @register(...), or pass wildcards over its "
                "module names, such as targets=['*.attn1', '*.ff']"
            )
        found = adapter(denoiser, targets)
    else:
        found = _match(denoiser, list(targets))
    if not found:
        raise ValueError(
            f"{type(denoiser).__name__} has no targets {targets!r}, so nothing would be reused; "
            "pass wildcards over its module names (denoiser.named_modules() lists them)"
        )
    return found


def grouped(targets: Sequence[Target], groups: Sequence[Sequence[str]]) -> list[int]:
    """The number of each target's group: the first with a wildcard that matches its name.

    The wildcard `"<first>"` matches the first target of all, whatever its name.

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


def _match(denoiser: nn.Module, patterns: list[str]) -> list[Target]:
    # Lists of modules are never called themselves, so nothing of theirs could be reused.
    callable_modules = [
        (name, module)
        for name, module in denoiser.named_modules()
        if name and not isinstance(module, nn.ModuleList | nn.ModuleDict)
    ]
    names = [name for name, _ in callable_modules]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"targets {pattern!r} matches no module of {type(denoiser).__name__}; its modules "
                f"have names such as {', '.join(names[:: max(len(names) // 5, 1)][:6])}"
            )
    found: list[Target] = []
    for name, module in callable_modules:
        inside = any(name.startswith(target.name + ".") for target in found)
        if not inside and any(fnmatchcase(name, pattern) for pattern in patterns):
            found.append(whole_residual(name, module))
    return found
