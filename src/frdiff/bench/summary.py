"""What the results of one model say: a row per setting, and each family against fewer steps."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from frdiff.bench.curves import Point, hypervolume, quality_above
from frdiff.bench.metrics import median_interval
from frdiff.bench.results import Fidelity

__all__ = [
    "GROUPS",
    "SPEEDUPS",
    "Row",
    "Standing",
    "baseline",
    "best_at",
    "group_of",
    "rows_of",
    "standings",
]

GROUPS = ("fewer steps", "paper", "frdiff", "peer")
SPEEDUPS = (1.5, 2.0, 3.0)
TOLERANCE = 0.95


def group_of(family: str) -> str:
    """Whose method a family is: "fewer steps", "paper" with its ablations, "frdiff" or "peer"."""
    first = family.split(",")[0]
    if first == "jumps only":
        return "paper"
    return first if first in GROUPS else "peer"


@dataclass(frozen=True)
class Row:
    """One setting, summed up.

    Attributes:
        result: the measurement.
        speedup: median over timed batches of the full run's seconds / the method's.
        spread: least and greatest of those ratios.
        macs_ratio: MACs / those of the full run.
        psnr: median PSNR in dB to the converged solution, with its 95 % interval.
        psnr_full: median PSNR in dB to the full run.
        ssim: median SSIM to the converged solution.
        lpips: likewise LPIPS; None where it was not measured.
        above: dB above fewer steps with the best solver at equal time; None where fewer steps
            were not measured at so short a time.
    """

    result: Fidelity
    speedup: float
    spread: tuple[float, float]
    macs_ratio: float
    psnr: float
    psnr_interval: tuple[float, float]
    psnr_full: float
    ssim: float
    lpips: float | None
    above: float | None

    @property
    def group(self) -> str:
        """See `group_of`."""
        return group_of(self.result.family)


def rows_of(results: Sequence[Fidelity]) -> list[Row]:
    """A row per result of one model, the fastest of each family last."""
    best = baseline(results)
    rows = []
    for result in results:
        ratios = _ratios(result)
        speedup = statistics.median(ratios)
        quality = statistics.median(result.psnr_converged)
        rows.append(
            Row(
                result=result,
                speedup=speedup,
                spread=(min(ratios), max(ratios)),
                macs_ratio=result.macs / result.macs_full,
                psnr=quality,
                psnr_interval=median_interval(result.psnr_converged),
                psnr_full=statistics.median(result.psnr_full),
                ssim=statistics.median(result.ssim_converged),
                lpips=None
                if result.lpips_converged is None
                else statistics.median(result.lpips_converged),
                above=quality_above((1 / speedup, quality), best),
            )
        )
    order = {group: number for number, group in enumerate(GROUPS)}
    return sorted(rows, key=lambda row: (order[row.group], row.result.family, row.speedup))


def baseline(results: Sequence[Fidelity]) -> list[Point]:
    """(share of the full run's seconds, median PSNR) of fewer steps, all solvers together."""
    return [
        (1 / statistics.median(_ratios(result)), statistics.median(result.psnr_converged))
        for result in results
        if group_of(result.family) == "fewer steps"
    ]


def _ratios(result: Fidelity) -> list[float]:
    return [full / own for full, own in zip(result.seconds_full, result.seconds, strict=True)]


@dataclass(frozen=True)
class Standing:
    """How a family stands, all its settings together.

    Attributes:
        hypervolume: area of quality above the worst measured, in dB, over the share of the full
            run's seconds from 0 to 1.
        best: by speed-up (1.5, 2, 3), the best setting that reaches it to 5 %; None if none does.
    """

    family: str
    group: str
    hypervolume: float
    best: dict[float, Row | None]


def standings(rows: Sequence[Row]) -> list[Standing]:
    """One per family, the largest hypervolume first."""
    floor = min(row.psnr for row in rows)
    families = dict.fromkeys(row.result.family for row in rows)
    found = []
    for family in families:
        own = [row for row in rows if row.result.family == family]
        points = [(1 / row.speedup, row.psnr) for row in own]
        found.append(
            Standing(
                family,
                own[0].group,
                hypervolume(points, (1.0, floor)),
                {speedup: best_at(own, speedup) for speedup in SPEEDUPS},
            )
        )
    return sorted(found, key=lambda standing: -standing.hypervolume)


def best_at(rows: Sequence[Row], speedup: float) -> Row | None:
    """The row of the best median PSNR among those that reach `speedup` to 5 %."""
    fast = [row for row in rows if row.speedup >= TOLERANCE * speedup]
    return max(fast, key=lambda row: row.psnr, default=None)
