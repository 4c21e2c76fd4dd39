"""Where the steps of a run lie: their noise levels crowded at either end, as two numbers say.

A power of the noise level is even in them, as in Karras et al., NeurIPS 2022, arXiv 2206.00364,
where it is a seventh: the lower, the more steps at little noise. And the last level need not be the
least: what lies below it is crossed in one step, and lifting it leaves more steps for the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Spread", "ranked_spreads"]

POWERS = (-1 / 15, 0.0, 1 / 30, 1 / 15, 1 / 10, 1 / 7, 1 / 5, 1 / 4, 1 / 3, 1 / 2)
LIFTS = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5)  # in mean steps
# Where the search begins: far apart.
STARTS = ((1, 0), (1, 2), (5, 0), (5, 2), (7, 0), (7, 2))
DIGITS = 7


@dataclass(frozen=True)
class Spread:
    """A place on the grid of powers and lifts.

    Attributes:
        power: number of the power of the noise level that is even in the steps.
        lift: number of the mean steps by which the last level is lifted.
    """

    power: int
    lift: int

    def levels(self, own: Sequence[float]) -> list[float]:
        """As many noise levels between the same ends but for the lift, falling.

        Args:
            own: logarithms of noise levels, falling.
        """
        first, last = own[0], own[-1]
        last += LIFTS[self.lift] * (first - last) / max(len(own) - 1, 1)
        places = np.linspace(0, 1, len(own))
        power = POWERS[self.power]
        if not power:
            spread = first + places * (last - first)
        else:
            begin, end = np.exp(power * first), np.exp(power * last)
            spread = np.log(begin + places * (end - begin)) / power
        return [round(float(level), DIGITS) for level in spread]

    def neighbours(self) -> list["Spread"]:
        """One place away, in either number."""
        around = [(self.power + way, self.lift) for way in (1, -1)]
        around += [(self.power, self.lift + way) for way in (1, -1)]
        return [
            Spread(power, lift)
            for power, lift in around
            if 0 <= power < len(POWERS) and 0 <= lift < len(LIFTS)
        ]


def ranked_spreads(
    misses: Callable[[Sequence[Spread]], Sequence[float]], tries: int
) -> list[Spread]:
    """Spreads that were tried, the least miss first.

    Args:
        misses: of some spreads; infinite where there is none.
        tries: spreads to look at, at most: a few far apart, then the neighbours of the best.
    """
    frontier = [Spread(*place) for place in STARTS]
    known: dict[Spread, float] = {}
    while frontier and len(known) < tries:
        looked = frontier[: tries - len(known)]
        known |= dict(zip(looked, misses(looked), strict=True))
        best = min(known, key=lambda spread: known[spread])
        frontier = [spread for spread in best.neighbours() if spread not in known]
    return sorted((one for one in known if np.isfinite(known[one])), key=lambda one: known[one])
