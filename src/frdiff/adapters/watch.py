"""Features seen while a model runs as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from frdiff.adapters.target import Target
from frdiff.calls import first_input

__all__ = ["watched"]


@contextmanager
def watched(
    targets: Sequence[Target], on_feature: Callable[[Target, Tensor], None]
) -> Iterator[None]:
    """While it lasts, `on_feature` gets every target's feature, without gradient, as it is made."""
    handles = [
        target.source.register_forward_hook(_hook(target, on_feature), with_kwargs=True)
        for target in targets
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(target: Target, on_feature: Callable[[Target, Tensor], None]) -> Callable[..., None]:
    def show(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        feature = target.extract(first_input(args, kwargs), output)
        if isinstance(feature, Tensor):
            on_feature(target, feature.detach())

    return show
