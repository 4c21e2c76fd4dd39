"""The paper's claims, tested on one model, each with the figures that decide.

MACs are shares of those of the same steps in full, 50 of DDIM for diffusion, as the paper counts.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from frdiff.evaluation.methods import Method, jumps, paper, solver_label
from frdiff.evaluation.results.curves import quality_above
from frdiff.evaluation.results.records import Distribution, Fidelity
from frdiff.evaluation.results.summary import rows_of

__all__ = ["Claim", "judge_claims"]

INTERVALS = (2, 3, 4, 5)
CLAIMED_SPEEDUP = 1.76
NEEDS_PAPER = "needs the paper's policy and its ablations, where their costs overlap"


@dataclass(frozen=True)
class Claim:
    """A claim and how it came out.

    Attributes:
        text: what is claimed, or asked.
        verdict: "holds", "does not hold", "in part", "not measured", or for a question "measured".
        evidence: the figures, in words.
    """

    text: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class _Point:
    """A setting of the paper: interval, MACs and median PSNR to the converged solution in dB."""

    interval: int
    cost: float
    quality: float


class _Table:
    """The paper's policies by setting, and the full run that they are applied to.

    Attributes:
        results: by family and setting.
        paper, jumps: names of the families.
        full: None if it was not measured.
    """

    def __init__(self, results: Sequence[Fidelity], on: Method) -> None:
        self.results = {(row.family, row.setting): row for row in results}
        self.paper = paper(on.scheduler, on.steps, INTERVALS[0]).family
        self.jumps = jumps(on.scheduler, on.steps, INTERVALS[0]).family
        self.full = self.results.get((on.family, on.setting))

    def points(self, family: str, setting: str) -> dict[int, _Point]:
        """A setting at the intervals measured, `{}` in its name standing for the interval."""
        found = {}
        for interval in INTERVALS:
            result = self.results.get((family, setting.format(interval)))
            if result is not None and self.full is not None:
                quality = statistics.median(result.psnr_converged)
                found[interval] = _Point(interval, result.macs / self.full.macs, quality)
        return found

    def above(self, points: dict[int, _Point], others: dict[int, _Point]) -> dict[int, float]:
        """dB by interval above the others at equal MACs, where theirs reach so few.

        The others end at interval 1, which is the full run whatever the setting.
        """
        if self.full is None or not others:
            return {}
        curve = [(point.cost, point.quality) for point in others.values()]
        curve.append((1.0, statistics.median(self.full.psnr_converged)))
        gains = {
            interval: quality_above((point.cost, point.quality), curve)
            for interval, point in points.items()
        }
        return {interval: gain for interval, gain in gains.items() if gain is not None}


def judge_claims(
    results: Sequence[Fidelity], distributions: Sequence[Distribution], on: Method
) -> list[Claim]:
    """The claims, tested on the results of one model.

    Args:
        on: the full run that the paper's policies were applied to.
    """
    table = _Table(results, on)
    return [
        _without_loss(results, distributions, on),
        _mixing(table),
        _bias(table),
        _interval(table),
        _conv1(table),
        _shares(table),
    ]


def _without_loss(
    results: Sequence[Fidelity], distributions: Sequence[Distribution], on: Method
) -> Claim:
    text = (
        f"{CLAIMED_SPEEDUP}x faster without loss: Fréchet distances, to the training pictures and "
        "to the full run, within the spread of the full run over seeds"
    )
    speeds = {(row.result.family, row.result.setting): row.speedup for row in rows_of(results)}
    claimed = {(row.family, row.setting): row for row in distributions if row.point == "claim"}
    key_full = on.family, on.setting
    full, family = claimed.get(key_full), paper(on.scheduler, on.steps, INTERVALS[0]).family
    ours = [row for key, row in claimed.items() if key[0] == family and key in speeds]
    seeds = [row for row in distributions if row.point.startswith("full")]
    if full is None or key_full not in speeds or not ours or len(seeds) < 3:
        return Claim(text, "not measured", "needs the distribution part of the bench")
    training = [row.frechet_training for row in seeds]
    others = [row.frechet_full for row in seeds]
    spread = max(training) - min(training)
    lines, good = [], False
    for row in sorted(ours, key=lambda row: row.setting):
        speed = speeds[row.family, row.setting] / speeds[key_full]
        lossless = (
            row.frechet_training <= full.frechet_training + spread
            and row.frechet_full <= full.frechet_full + max(others) - min(others)
        )
        good |= speed >= CLAIMED_SPEEDUP and lossless
        lines.append(
            f"{row.setting}: {speed:.2f}x in seconds, {row.frechet_training:.3f} and "
            f"{row.frechet_full:.3f}, {'no' if lossless else 'a'} loss"
        )
    evidence = (
        f"{on.steps} {solver_label(on.scheduler)} steps {full.frechet_training:.3f} and "
        f"{full.frechet_full:.3f}, spread over seeds {spread:.3f} and "
        f"{max(others) - min(others):.3f}; {'; '.join(lines)}"
    )
    return Claim(text, "holds" if good else "does not hold", evidence)


def _verdict(gains: Sequence[float]) -> str:
    if all(gain > 0 for gain in gains):
        return "holds"
    return "in part" if any(gain > 0 for gain in gains) else "does not hold"


def _listed(name: str, gains: dict[int, float]) -> str:
    said = ", ".join(f"{gain:+.1f}" for gain in gains.values())
    intervals = ", ".join(map(str, gains))
    return f"{name} {said} dB (intervals {intervals})"


def _mixing(table: _Table) -> Claim:
    text = "Feature reuse and reduced NFE complement each other: mixing beats each at equal MACs"
    mixed = table.points(table.paper, "interval {}")
    alone = {
        "reuse alone": table.above(mixed, table.points(table.paper, "interval {}, mixing False")),
        "jumps alone": table.above(mixed, table.points(table.jumps, "interval {}")),
    }
    if not all(alone.values()):
        return Claim(text, "not measured", NEEDS_PAPER)
    gains = [gain for found in alone.values() for gain in found.values()]
    evidence = "; ".join(_listed(f"above {name}:", found) for name, found in alone.items())
    return Claim(text, _verdict(gains), evidence)


def _bias(table: _Table) -> Claim:
    text = "A smaller bias (fewer jumps) costs more and is closer"
    low = table.points(table.paper, "interval {}, bias 0.3")
    high = table.points(table.paper, "interval {}")
    both = [interval for interval in low if interval in high]
    if not both:
        return Claim(text, "not measured", NEEDS_PAPER)
    gains = {interval: low[interval].quality - high[interval].quality for interval in both}
    dearer = [low[interval].cost - high[interval].cost for interval in both]
    costs = ", ".join(f"{low[i].cost:.2f} against {high[i].cost:.2f}" for i in both)
    evidence = f"{_listed('bias 0.3 above 0.5 by', gains)}; MACs {costs}"
    return Claim(text, _verdict([*gains.values(), *dearer]), evidence)


def _interval(table: _Table) -> Claim:
    text = "A larger interval is faster and less close"
    points = list(table.points(table.paper, "interval {}").values())
    if len(points) < 2:
        return Claim(text, "not measured", NEEDS_PAPER)
    pairs = list(itertools.pairwise(points))
    drops = [a.quality - b.quality for a, b in pairs] + [a.cost - b.cost for a, b in pairs]
    said = ", ".join(
        f"{point.quality:.1f} dB at {point.cost:.2f} of the MACs (interval {point.interval})"
        for point in points
    )
    return Claim(text, _verdict(drops), said)


def _conv1(table: _Table) -> Claim:
    text = (
        "Stopping at conv1 (U-Net) or attention (DiT), the paper's choice, beats whole residuals "
        "at equal MACs"
    )
    short = table.points(table.paper, "interval {}, mixing False")
    whole = table.points(table.paper, "interval {}, mixing False, targets residual")
    gains = table.above(short, whole)
    if not gains:
        return Claim(text, "not measured", NEEDS_PAPER)
    same = {i: short[i].quality - whole[i].quality for i in short if i in whole}
    evidence = (
        f"{_listed('above whole residuals at equal MACs:', gains)}; "
        f"{_listed('at the same interval, where they cost more:', same)}; reuse alone, copied"
    )
    return Claim(text, _verdict(list(gains.values())), evidence)


def _shares(table: _Table) -> Claim:
    text = "What saves: jumps or reuse?"
    lines = []
    for interval in INTERVALS:
        result = table.results.get((table.paper, f"interval {interval}"))
        if result is None or table.full is None or result.jumps is None:
            continue
        by_jumps = result.jumps * table.full.macs / table.full.steps
        share = by_jumps / (table.full.macs - result.macs)
        lines.append(f"interval {interval}: {share:.0%} by jumps")
    if not lines:
        return Claim(text, "not measured", NEEDS_PAPER)
    return Claim(text, "measured", "; ".join(lines) + "; the rest by reuse")
