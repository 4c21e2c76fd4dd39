"""Steps that compute one half of guidance; the other follows from how the halves differed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from frdiff.network.calls import same_memory, tensors_within
from frdiff.network.halves import agrees, half_of, has_halves, led, rejoined
from frdiff.network.trees import filled, tensors_in
from frdiff.plan import Action

if TYPE_CHECKING:
    from frdiff.run.patch import DenoiserPatch

__all__ = ["half_step"]

Scores = tuple[Tensor, ...]
Call = tuple[tuple, dict[str, Any]]


def half_step(
    patch: "DenoiserPatch", compute: Callable, call: Call, earlier: tuple[Any, Scores]
) -> Any:
    """What a denoiser returns on such a step.

    Of a call that has both halves one is computed; of two calls with the same sample the first is,
    and the second follows it; anything else is computed in full.

    Args:
        compute: the denoiser's own forward.
        call: the arguments, by place and by name.
        earlier: the form of what it returned on keyframes, and the forecast of its scores.
    """
    now = patch.progress
    context, (form, forecasts) = now.current, earlier
    sample = _sample(call)
    if context.halved is None:
        context.halved = has_halves(sample)
    half = _half_of_call(patch, compute, call) if context.halved else None
    if half is not None and patch.separable.get(context.outline):
        pairs = zip(half, forecasts, strict=True)
        return filled(form, [rejoined(*pair, now.half) for pair in pairs])
    if now.leading is not None and sample is not None and same_memory(now.leading[0], sample):
        context.took = Action.JUMP
        rows = zip(forecasts, *now.leading[1:], strict=True)
        return filled(form, [led(*row) for row in rows])
    context.took = Action.REUSE  # of nothing: computed in full, but no keyframe
    with patch.idle():
        result = compute(*call[0], **call[1])
    if half is not None:
        patch.separable[context.outline] = agrees(half, tensors_in(result), now.half)
    if now.leading is None and sample is not None:
        now.leading = sample, tensors_in(result), forecasts
    return result


def _sample(call: Call) -> Tensor | None:
    """The sample of a call, be it tokens: its first tensor with rows and columns."""
    return next((tensor for tensor in tensors_within(call) if tensor.dim() > 1), None)


def _half_of_call(patch: "DenoiserPatch", compute: Callable, call: Call) -> Scores | None:
    """The scores of one half of a call; None where a call of its shapes cannot be halved.

    Whether it can shows once, where it is computed in full as well: rows may be no samples.
    """
    shapes, sample = patch.progress.current.outline, _sample(call)
    if sample is None or patch.separable.get(shapes) is False:
        return None
    args, kwargs = half_of(call, len(sample), patch.progress.half)
    try:
        with patch.idle():
            return tensors_in(compute(*args, **kwargs))
    except Exception:  # whatever a model's own code raises on rows that belong together
        if patch.separable.get(shapes):
            raise
        patch.separable[shapes] = False
        return None
