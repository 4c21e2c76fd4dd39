"""How a policy has its features stored."""

from dataclasses import asdict, dataclass
from typing import Any

from frdiff.policy.checks import check_float, quote

__all__ = ["Storage"]

PRECISIONS = ("full", "half", "int8")


@dataclass(frozen=True)
class Storage:
    """In how few bytes features are stored; scores are kept as they are.

    Attributes:
        newest: of the last keyframe: `"full"` keeps the type of the model, `"half"` is float16,
            `"int8"` 8 bits with a scale for every channel.
        changes: the same of what changes from one keyframe to the next, in the place of the
            features of those before the last; None keeps those as they were when they were the
            newest.
        rank: share of their full rank, above 0 and below 1, that the changes keep; None keeps all.
        offload: keep what is stored in the memory of the host between steps; nothing to gain where
            the model runs there.
    """

    newest: str = "full"
    changes: str | None = None
    rank: float | None = None
    offload: bool = False

    def __post_init__(self) -> None:
        _check_precision("newest", self.newest)
        if self.changes is not None:
            _check_precision("changes", self.changes)
        if self.rank is not None:
            check_float("rank", self.rank, 1e-3, 1 - 1e-3)
            if self.changes is None:
                raise ValueError('rank is that of changes: give changes, too, such as "half"')
        if not isinstance(self.offload, bool):
            raise TypeError(f"offload must be True or False, got {quote(self.offload)}")

    def __str__(self) -> str:
        said = [self.newest if self.changes is None else f"{self.newest}, changes {self.changes}"]
        said += [] if self.rank is None else [f"of rank {self.rank:g}"]
        said += ["offloaded"] if self.offload else []
        return " ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def _check_precision(name: str, value: object) -> None:
    if value not in PRECISIONS:
        allowed = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"{name} must be one of {allowed}, got {quote(value)}")
