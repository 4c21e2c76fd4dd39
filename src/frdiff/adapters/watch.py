"""Features seen while a model runs as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from frdiff.adapters.target import Features, Target

__all__ = ["watched"]


@contextmanager
def watched(
    targets: Sequence[Target], on_feature: Callable[[Target, Features], None]
) -> Iterator[None]:
    """While it lasts, `on_feature` gets every target's features, without gradient, as made."""
    handles = [
        target.source.register_forward_hook(_hook(target, on_feature), with_kwargs=True)
        for target in targets
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(target: Target, on_feature: Callable[[Target, Features], None]) -> Callable[..., None]:
    def show(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        features = target.extract((args, kwargs), output)
        if features:
            on_feature(target, tuple(feature.detach() for feature in features))

    return show
