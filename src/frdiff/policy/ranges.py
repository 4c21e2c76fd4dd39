"""A table for every guidance scale within a range."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from frdiff.bank.forecast import extrapolation_weights
from frdiff.plan import Plan, Step
from frdiff.policy.base import Policy, Targets
from frdiff.policy.checks import built, check_float, checked_list, quote
from frdiff.policy.conditions import GUIDANCE
from frdiff.policy.origin import Origin
from frdiff.policy.storage import Storage
from frdiff.policy.table import TablePolicy

__all__ = ["RangePolicy", "shares_at"]

MAX_TABLES = 8
# What follows the scale.
NUMBERS = ("score_weights", "sample_weights", "guidance_weights", "noise_levels")


@dataclass(frozen=True)
class RangePolicy(Policy):
    """What `tune` finds for a range of guidance: a table whose numbers follow the scale.

    How a sampler is best run changes with guidance, smoothly. The tables given are for some scales;
    `at` makes the one for any between, its weights and noise levels on the polynomial through
    theirs in the logarithm of the scale. What is computed at which step, and so what a run costs,
    is the same throughout.

    A pipeline's call tells its guidance scale. A loop of somebody's own does not: apply
    `policy.at(guidance)` there.

    Attributes:
        guidances: scales of the tables, above 0, rising.
        tables: as many, alike in all but their numbers.
        origin: what it was tuned for.
    """

    kind: ClassVar[str] = "range"
    guidances: Sequence[float]
    tables: Sequence[TablePolicy]
    origin: Origin | None = None

    def __post_init__(self) -> None:
        guidances = checked_list("guidances", self.guidances)
        for guidance in guidances:
            check_float("a guidance", guidance, 1e-6, 1e6)
        if sorted({*guidances}) != guidances or not 2 <= len(guidances) <= MAX_TABLES:
            raise ValueError(
                f"guidances must be 2 to {MAX_TABLES} rising numbers, got {quote(guidances)}"
            )
        tables = [_table(row) for row in checked_list("tables", self.tables)]
        if len(tables) != len(guidances):
            raise ValueError(f"there must be {len(guidances)} tables, got {len(tables)}")
        if len({_frame(table) for table in tables}) > 1:
            raise ValueError("tables of a range must be alike in all but weights and noise levels")
        for name, value in (("guidances", guidances), ("tables", tables)):
            object.__setattr__(self, name, tuple(value))
        origin: object = self.origin
        if origin is not None and not isinstance(origin, Origin):
            object.__setattr__(self, "origin", built(Origin, "origin", origin))

    def at(self, guidance: float) -> TablePolicy:
        """The table for a guidance scale; beyond the range, that of its nearer end."""
        check_float("guidance", guidance, -1e6, 1e6)
        within = min(max(guidance, self.guidances[0]), self.guidances[-1])
        shares = shares_at(self.guidances, within)
        found: dict[str, Any] = {}
        for name in NUMBERS:
            rows = [getattr(table, name) for table in self.tables]
            if rows[0] is not None:
                found[name] = _mixed(shares, rows)
        return replace(self.tables[0], **found, origin=self.origin)

    def settled(self, scales: Mapping[str, float]) -> TablePolicy:
        """The table for the guidance scale of a pipeline's call.

        Raises:
            ValueError: it is not told.
        """
        if GUIDANCE not in scales:
            raise ValueError(
                f"this policy is for guidance {self.guidances[0]:g} to {self.guidances[-1]:g}, and "
                "which one a loop runs at cannot be told; apply policy.at(guidance) instead"
            )
        return self.at(scales[GUIDANCE])

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "guidances": self.guidances,
            "tables": [table.to_dict() for table in self.tables],
            "origin": None if self.origin is None else self.origin.to_dict(),
        }

    @property
    def num_steps(self) -> int:
        """Steps of the run this is for."""
        return self.tables[0].num_steps

    @property
    def groups(self) -> Sequence[Sequence[str]]:  # type: ignore[override]
        """See `Policy`."""
        return self.tables[0].groups

    @property
    def forecast(self) -> int:  # type: ignore[override]
        """See `Policy`."""
        return self.tables[0].forecast

    @property
    def targets(self) -> Targets:  # type: ignore[override]
        """See `Policy`."""
        return self.tables[0].targets

    @property
    def coordinate(self) -> str:  # type: ignore[override]
        """See `Policy`."""
        return self.tables[0].coordinate

    @property
    def storage(self) -> Storage | None:  # type: ignore[override]
        """See `Policy`."""
        return self.tables[0].storage

    @property
    def noise_levels(self) -> Sequence[float] | None:  # type: ignore[override]
        """Of the table for the middle of the range."""
        return self.middle.noise_levels

    @property
    def sample_weights(self) -> Sequence[float] | None:  # type: ignore[override]
        """Of the table for the middle of the range."""
        return self.middle.sample_weights

    @property
    def guidance_weights(self) -> Sequence[float] | None:  # type: ignore[override]
        """Of the table for the middle of the range."""
        return self.middle.guidance_weights

    @property
    def opening(self) -> Step:
        """What step 0 does in the middle of the range."""
        return self.middle.opening

    @property
    def reuses(self) -> bool:
        """Whether the run has a reuse step."""
        return self.tables[0].reuses

    @property
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept."""
        return max(table.score_depth for table in self.tables)

    @property
    def computed_groups(self) -> frozenset[int]:
        """The groups of targets that some step with stored features computes."""
        return self.tables[0].computed_groups

    @property
    def depth(self) -> int:
        """Features that must be kept per target."""
        return self.tables[0].depth

    def plan(self, num_steps: int) -> Plan:
        """The explicit table for the middle of the range.

        Raises:
            ValueError: `num_steps` is not the step count this policy was made for.
        """
        return self.middle.plan(num_steps)

    @property
    def middle(self) -> TablePolicy:
        """The table for the middle of the range, as ratios go."""
        return self.at(math.sqrt(self.guidances[0] * self.guidances[-1]))


def shares_at(guidances: Sequence[float], guidance: float) -> list[float]:
    """How much each table for some guidance scale counts in the one for another; they sum to 1.

    Args:
        guidances: above 0, all different.
    """
    return extrapolation_weights([math.log(scale) for scale in guidances], math.log(guidance))


def _table(row: object) -> TablePolicy:
    if isinstance(row, TablePolicy):
        return replace(row, origin=None)
    return built(TablePolicy, "a table", row)


def _frame(table: TablePolicy) -> tuple[str, Any]:
    """What tables of one range have in common, ready to be compared."""
    shapes = [
        None if (rows := getattr(table, name)) is None else tuple(np.size(row) for row in rows)
        for name in NUMBERS
    ]
    without: dict[str, Any] = dict.fromkeys((*NUMBERS, "origin"))
    bare = replace(table, **without)
    return bare.dumps(), tuple(shapes)


def _mixed(shares: Sequence[float], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The weighted sum of lists of numbers, or of lists of these."""
    if isinstance(rows[0][0], float | int):
        return [
            float(sum(share * value for share, value in zip(shares, column, strict=True)))
            for column in zip(*rows, strict=True)
        ]
    return [_mixed(shares, column) for column in zip(*rows, strict=True)]
