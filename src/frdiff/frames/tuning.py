"""The frame policy that comes nearest to the full clip at a speed: by trying them."""

from collections.abc import Callable
from itertools import product
from typing import Any

from torch import Tensor, nn

from frdiff.frames.drawing import draw, in_full
from frdiff.policy import FramePolicy, Targets
from frdiff.policy.checks import check_float
from frdiff.policy.frames import PLACINGS

__all__ = ["tune"]

TARGETS: tuple[Targets, ...] = ((), "all", "residual")
ORDERS = (1, 2, 3)
FEW, PAIR = 12, 2


def tune(
    network: nn.Module,
    inputs: Tensor,
    speedup: float,
    make: Callable[[Tensor], Any] | None = None,
    *,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> FramePolicy:
    """The frame policy that comes nearest to the full clip, in MACs `speedup` times fewer.

    All targets, orders and placings are drawn once each, at the interval that is as fast on a long
    clip: what `inputs` move like decides, so take one like those to come, of 20 frames or more.

    Args:
        network, make: see `draw`.
        inputs: (N, ...), a clip.
        speedup: of the network, in MACs, above 1; kept to 5 %, and but for a clip's last keyframe.
        on_clip: called with the clips drawn so far, and all.

    Raises:
        ValueError: a speed that no policy reaches on so few frames.
    """
    check_float("speedup", speedup, 1.01, 1000)
    full = list(in_full(network, inputs, make))
    prices = {targets: _price(network, inputs, targets, make) for targets in TARGETS}
    tried: list[tuple[float, FramePolicy]] = []
    choices = list(product(TARGETS, ORDERS, PLACINGS))
    for number, (targets, order, placing) in enumerate(choices):
        price = prices[targets]
        interval = None if price is None else _interval(speedup, price)
        if interval is not None and interval < len(inputs) - 1:
            policy = FramePolicy(interval, order, targets, placing)
            drawing = draw(network, inputs, policy, make)
            pairs = zip(drawing, full, strict=True)
            error = sum(float((frame - one).square().mean()) for frame, one in pairs)
            tried.append((error, policy))
        on_clip(number + 1, len(choices))
    if not tried:
        raise ValueError(
            f"no policy makes {len(inputs)} frames {speedup:g} times faster: ask for less speed or "
            "give a longer clip"
        )
    return min(tried, key=lambda row: row[0])[1]


def _price(
    network: nn.Module, inputs: Tensor, targets: Targets, make: Callable[[Tensor], Any] | None
) -> float | None:
    """MACs of a frame between keyframes, over those of a full one; None without such targets."""
    clip = inputs[:1].expand(FEW, *inputs.shape[1:])
    try:
        drawing = draw(network, clip, FramePolicy(PAIR, 0, targets), make)
        for _ in drawing:
            pass
    except ValueError:
        return None  # nothing of that set in the network
    stats = drawing.stats
    ratio = None if stats is None else stats.macs_ratio
    if stats is None or ratio is None:
        return None
    return (ratio * FEW - stats.keyframes) / (FEW - stats.keyframes)


def _interval(speedup: float, price: float) -> float | None:
    """The interval at which a long clip is as fast; None if none is.

    One that is nearly whole is taken for that: keyframes at even distances are worth more than the
    twentieth of the speed that it costs.
    """
    if price * speedup >= 1:
        return None
    interval = (1 - price) / (1 / speedup - price)
    return float(int(interval)) if interval - int(interval) <= interval / 20 else interval
