"""The paper's claims, tested on one model, each with the figures that decide.

Cost is the share of MACs of the same 50 DDIM steps, as the paper counts.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from frdiff.bench.curves import quality_above
from frdiff.bench.results import Distribution, Fidelity
from frdiff.bench.summary import rows_of

__all__ = ["Claim", "judge_claims"]

PAPER = "paper, DDIM 50"
JUMPS = "jumps only, DDIM 50"
FULL_DDIM = ("fewer steps, DDIM", "50 steps")
INTERVALS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Claim:
    """A claim and how it came out.

    Attributes:
        text: what is claimed.
        verdict: "holds", "does not hold", "in part" or "not measured".
        evidence: the figures, in words.
    """

    text: str
    verdict: str
    evidence: str


class _Table:
    """The paper's policies by setting: cost in MACs of 50 DDIM steps, and median PSNR."""

    def __init__(self, results: Sequence[Fidelity]) -> None:
        self.results = {(row.family, row.setting): row for row in results}
        full = self.results.get(FULL_DDIM)
        self.full_macs = full.macs if full else 0

    def point(self, family: str, setting: str) -> tuple[float, float] | None:
        """(cost, median PSNR to the converged solution in dB); None if not measured."""
        result = self.results.get((family, setting))
        if result is None or not self.full_macs:
            return None
        return result.macs / self.full_macs, statistics.median(result.psnr_converged)

    def curve(self, family: str, setting: str) -> list[tuple[float, float]]:
        """The points of a setting at intervals 2 to 5, `{}` standing for the interval."""
        found = (self.point(family, setting.format(interval)) for interval in INTERVALS)
        return [point for point in found if point is not None]


def judge_claims(results: Sequence[Fidelity], distributions: Sequence[Distribution]) -> list[Claim]:
    """The claims, tested on the results of one model."""
    table = _Table(results)
    return [
        _without_loss(results, distributions),
        _mixing(table),
        _bias(table),
        _interval(table),
        _conv1(table),
        _shares(table),
    ]


def _without_loss(results: Sequence[Fidelity], distributions: Sequence[Distribution]) -> Claim:
    text = "1.76x without loss: Fréchet distance within the spread of the full run"
    claimed = [row for row in distributions if row.point == "claim"]
    full = [row for row in claimed if (row.family, row.setting) == FULL_DDIM]
    spread = [row.frechet_training for row in distributions if row.point.startswith("full")]
    ours = [row for row in claimed if row.family == PAPER]
    speeds = {(row.result.family, row.result.setting): row.speedup for row in rows_of(results)}
    if not full or not ours or len(spread) < 2:
        return Claim(text, "not measured", "needs the distribution part of the bench")
    allowed = full[0].frechet_training + (max(spread) - min(spread))
    lines, good = [], False
    for row in ours:
        speed = speeds[row.family, row.setting] / speeds[FULL_DDIM]
        lines.append(f"{row.setting}: {speed:.2f}x at {row.frechet_training:.3f}")
        good |= speed >= 1.6 and row.frechet_training <= allowed
    evidence = (
        f"full run {full[0].frechet_training:.3f}, spread over seeds "
        f"{max(spread) - min(spread):.3f}; {'; '.join(lines)}"
    )
    return Claim(text, "holds" if good else "does not hold", evidence)


def _verdict(gains: Sequence[float]) -> str:
    if all(gain > 0 for gain in gains):
        return "holds"
    return "in part" if any(gain > 0 for gain in gains) else "does not hold"


def _listed(name: str, gains: Sequence[float]) -> str:
    return f"{name} " + ", ".join(f"{gain:+.1f}" for gain in gains) + " dB"


def _mixing(table: _Table) -> Claim:
    text = "Feature reuse and reduced NFE complement each other: mixing beats each alone"
    mixed = table.curve(PAPER, "interval {}")
    parts, gains = [], []
    for name, family, setting in (
        ("reuse alone", PAPER, "interval {}, mixing False"),
        ("jumps alone", JUMPS, "interval {}"),
    ):
        alone = table.curve(family, setting)
        above = [quality_above(point, alone) for point in mixed]
        known = [gain for gain in above if gain is not None]
        if known:
            parts.append(_listed(f"above {name} at equal MACs:", known))
            gains += known
    if not gains:
        return Claim(text, "not measured", "needs the paper's policy and its ablations")
    return Claim(text, _verdict(gains), "; ".join(parts))


def _pairs(table: _Table, first: str, second: str) -> list[tuple[tuple, tuple]]:
    pairs = []
    for interval in INTERVALS:
        a = table.point(PAPER, first.format(interval))
        b = table.point(PAPER, second.format(interval))
        if a and b:
            pairs.append((a, b))
    return pairs


def _bias(table: _Table) -> Claim:
    text = "A smaller bias (fewer jumps) costs more and is closer"
    pairs = _pairs(table, "interval {}, bias 0.3", "interval {}")
    if not pairs:
        return Claim(text, "not measured", "needs the paper's policy and its ablations")
    gains = [low[1] - high[1] for low, high in pairs]
    costs = ", ".join(f"{low[0]:.2f} against {high[0]:.2f}" for low, high in pairs)
    evidence = f"{_listed('bias 0.3 above 0.5 by', gains)}; MACs {costs} (intervals 2 to 5)"
    return Claim(text, _verdict(gains), evidence)


def _interval(table: _Table) -> Claim:
    text = "A larger interval is faster and less close"
    curve = table.curve(PAPER, "interval {}")
    if len(curve) < 2:
        return Claim(text, "not measured", "needs the paper's policy and its ablations")
    drops = [before[1] - after[1] for before, after in itertools.pairwise(curve)]
    said = ", ".join(f"{quality:.1f} dB at {cost:.2f}" for cost, quality in curve)
    return Claim(text, _verdict(drops), f"{said} of the MACs (intervals 2 to 5)")


def _conv1(table: _Table) -> Claim:
    text = "Storing conv1 rather than the whole residual keeps quality (the paper's choice)"
    alone = "interval {}, mixing False"
    pairs = _pairs(table, alone, alone + ", targets residual")
    if not pairs:
        return Claim(text, "not measured", "needs the paper's policy and its ablations")
    residual = [second for _, second in pairs]
    gains = [quality_above(first, residual) for first, _ in pairs]
    known = [gain for gain in gains if gain is not None]
    same = [first[1] - second[1] for first, second in pairs]
    evidence = _listed("conv1 above whole residuals, same interval:", same)
    evidence += "; " + _listed("at equal MACs:", known) if known else ""
    return Claim(text, _verdict(known or same), evidence + " (reuse alone, copied)")


def _shares(table: _Table) -> Claim:
    text = "What saves: jumps and reuse"
    lines = []
    for interval in INTERVALS:
        result = table.results.get((PAPER, f"interval {interval}"))
        if result is None or not table.full_macs:
            continue
        step = table.full_macs / 50
        by_jumps = result.jumps * step
        saved = table.full_macs - result.macs
        lines.append(f"interval {interval}: {by_jumps / saved:.0%} by jumps")
    if not lines:
        return Claim(text, "not measured", "needs the paper's policy on DDIM")
    return Claim(text, "measured", "; ".join(lines) + "; the rest by reuse")
