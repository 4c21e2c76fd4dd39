"""What the results of one model say: a row per setting, and each family against fewer steps."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frdiff.evaluation.metrics import median_interval
from frdiff.evaluation.results.curves import hypervolume, quality_above
from frdiff.evaluation.results.records import Fidelity

__all__ = [
    "GROUPS",
    "SPEEDUPS",
    "Row",
    "Standing",
    "best_at",
    "group_of",
    "rows_of",
    "standings",
]

GROUPS = ("fewer steps", "paper", "frdiff", "tuned", "peer")
SPEEDUPS = (1.5, 2.0, 3.0)
TOLERANCE = 0.92  # of a speed-up asked for: medians of five timings and less scatter by 2 to 3 %
EVERY = slice(None)
# Settings are chosen on one half of the pictures and reported on the other: the best of many on
# the pictures that chose it flatters whoever has most settings.
CHOOSING, REPORTED = slice(0, None, 2), slice(1, None, 2)


def group_of(family: str) -> str:
    """Whose method a family is.

    "fewer steps", "paper" with its ablations, "frdiff" for settings that fit any model, "tuned" for
    policies found by `frdiff.tune`, or "peer".
    """
    first = family.split(",")[0]
    if first == "jumps only":
        return "paper"
    return first if first in GROUPS else "peer"


@dataclass(frozen=True)
class Row:
    """One setting, summed up.

    Attributes:
        result: the measurement.
        seconds: median over timed batches, whole pipeline calls.
        speedup: median over timed batches of the full run's seconds / the method's.
        spread: least and greatest of those ratios.
        macs_ratio: MACs / those of the full run.
        psnr: median PSNR in dB to the converged solution, with its 95 % interval.
        psnr_full: median PSNR in dB to the full run.
        ssim: median SSIM to the converged solution.
        lpips: likewise LPIPS; None where it was not measured.
        above: dB above fewer steps with the best solver at equal time; None where fewer steps
            were not measured at so short a time.
        above_macs: likewise at equal MACs.
    """

    result: Fidelity
    seconds: float
    speedup: float
    spread: tuple[float, float]
    macs_ratio: float
    psnr: float
    psnr_interval: tuple[float, float]
    psnr_full: float
    ssim: float
    lpips: float | None
    above: float | None
    above_macs: float | None

    @property
    def group(self) -> str:
        """See `group_of`."""
        return group_of(self.result.family)


def rows_of(results: Sequence[Fidelity], pictures: slice = EVERY) -> list[Row]:
    """A row per result of one model, the fastest of each family last.

    Args:
        pictures: which of them count.
    """

    def psnr(result: Fidelity) -> float:
        return statistics.median(result.psnr_converged[pictures])

    def seconds_ratio(result: Fidelity) -> float:
        return statistics.median(_ratios(result))

    honest = [result for result in results if group_of(result.family) == "fewer steps"]
    by_time = [(1 / seconds_ratio(result), psnr(result)) for result in honest]
    by_macs = [(result.macs / result.macs_full, psnr(result)) for result in honest]
    rows = []
    for result in results:
        ratios = _ratios(result)
        speedup, quality = seconds_ratio(result), psnr(result)
        rows.append(
            Row(
                result=result,
                seconds=statistics.median(result.seconds),
                speedup=speedup,
                spread=(min(ratios), max(ratios)),
                macs_ratio=result.macs / result.macs_full,
                psnr=quality,
                psnr_interval=median_interval(result.psnr_converged[pictures]),
                psnr_full=statistics.median(result.psnr_full[pictures]),
                ssim=statistics.median(result.ssim_converged[pictures]),
                lpips=None
                if result.lpips_converged is None
                else statistics.median(result.lpips_converged[pictures]),
                above=quality_above((1 / speedup, quality), by_time),
                above_macs=quality_above((result.macs / result.macs_full, quality), by_macs),
            )
        )
    order = {group: number for number, group in enumerate(GROUPS)}
    return sorted(rows, key=lambda row: (order[row.group], row.result.family, row.speedup))


def _ratios(result: Fidelity) -> list[float]:
    return [full / own for full, own in zip(result.seconds_full, result.seconds, strict=True)]


@dataclass(frozen=True)
class Standing:
    """How a family or a group stands, all its settings together.

    Attributes:
        name: of the family or group.
        hypervolume: area of quality above the worst measured, in dB, over the share of the full
            run's seconds from 0 to 1.
        best: by speed-up (1.5, 2, 3), the best setting that reaches it to 8 %, chosen on every
            second picture and with its figures on the others; None if none reaches it.
    """

    name: str
    group: str
    hypervolume: float
    best: dict[float, Row | None]


def standings(
    results: Sequence[Fidelity], name_of: Callable[[Row], str] = lambda row: row.result.family
) -> list[Standing]:
    """One per family of one model, the largest hypervolume first.

    Args:
        name_of: what rows stand together under.
    """
    rows, choosing = rows_of(results), rows_of(results, CHOOSING)
    reported = {id(row.result): row for row in rows_of(results, REPORTED)}
    floor = min(row.psnr for row in rows)

    def best(name: str, speedup: float) -> Row | None:
        chosen = best_at([row for row in choosing if name_of(row) == name], speedup)
        return None if chosen is None else reported[id(chosen.result)]

    found = []
    for name in dict.fromkeys(name_of(row) for row in rows):
        own = [row for row in rows if name_of(row) == name]
        points = [(1 / row.speedup, row.psnr) for row in own]
        area = hypervolume(points, (1.0, floor))
        found.append(
            Standing(
                name, own[0].group, area, {speedup: best(name, speedup) for speedup in SPEEDUPS}
            )
        )
    return sorted(found, key=lambda standing: -standing.hypervolume)


def best_at(rows: Sequence[Row], speedup: float) -> Row | None:
    """The row of the best median PSNR among those that reach `speedup` to 8 %."""
    fast = [row for row in rows if row.speedup >= TOLERANCE * speedup]
    return max(fast, key=lambda row: row.psnr, default=None)
