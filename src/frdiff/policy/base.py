"""What all policies share."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from frdiff.plan import Action, Plan, Step
from frdiff.policy.checks import built, check_int, checked_list, quote
from frdiff.policy.origin import Origin
from frdiff.policy.storage import Storage

__all__ = ["FILE_VERSION", "FIRST", "MAX_FORECAST", "MAX_STEPS", "TARGET_SETS", "Policy", "Targets"]

FILE_VERSION = 1
FIRST = "<first>"  # in groups: the first target, whatever its name
MAX_FORECAST = 2
MAX_STEPS = 10_000
TARGET_SETS = ("paper", "residual", "all")
SETS_IN_LISTS = {f"<{name}>": name for name in TARGET_SETS}
COORDINATES = ("step", "noise")

Targets = str | Sequence[str]


class Policy(ABC):
    """What all policies share: which features are reused and how they are forecast.

    Attributes:
        forecast: 0 copies the last keyframe's feature, 1 extrapolates linearly from the last two,
            2 quadratically from the last three. Each order stores one feature more per target.
        targets: `"paper"`: U-Net `conv1` outputs and transformer residuals, DiT attention;
            `"residual"`: whole residual branches, cheaper and closer; `"all"`: down- and
            up-samplers of U-Nets too, cheapest and, with a linear forecast, as close; or shell
            wildcards over module names, such as `["*.attn1", "*.ff"]`; those after `!` are
            exceptions, from wildcards or from a set: `["<all>", "!up_blocks.3.*"]`.
        coordinate: what forecasts extrapolate in: `"step"`, the step index, or `"noise"`, the
            logarithm of the noise level.
        groups: wildcards over target names, group by group; what a step computes is decided for
            each group. All targets are one group unless a table says otherwise.
        noise_levels: logarithm of the noise level that every step is to have, laid on the scheduler
            when it sets its timesteps; None leaves it its own.
        sample_weights: per step, how much of the sample is added to the score; None adds none.
        guidance_weights: per step, how much is added of how the halves of the score differ; None
            adds none.
        storage: in how few bytes features are stored; None stores them as they are.
        origin: what a tuned policy was made for; None for others.
    """

    kind: ClassVar[str]
    """In files."""
    groups: Sequence[Sequence[str]] = (("*",),)
    noise_levels: Sequence[float] | None = None
    sample_weights: Sequence[float] | None = None
    guidance_weights: Sequence[float] | None = None
    storage: Storage | None = None
    origin: Origin | None = None
    forecast: int
    targets: Targets
    coordinate: str

    @property
    @abstractmethod
    def reuses(self) -> bool:
        """Whether any run under this policy can have a reuse step; if not, no feature is stored."""

    @property
    @abstractmethod
    def score_depth(self) -> int:
        """Scores of keyframes that must be kept, for jumps and mixing; 0 if none is ever taken."""

    @property
    def opening(self) -> Step:
        """What step 0 does, before the length of the run and with it the plan is known."""
        return Step(Action.KEYFRAME)

    @property
    def computed_groups(self) -> frozenset[int]:
        """The groups of targets that some step with stored features computes: here none."""
        return frozenset()

    @property
    def depth(self) -> int:
        """Features that must be kept per target."""
        return self.forecast + 1

    @abstractmethod
    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps."""

    def settled(self, scales: Mapping[str, float]) -> "Policy":
        """The policy for a run of a pipeline whose call says so much of guidance: this one.

        Args:
            scales: the arguments of the call that say how strongly it guides, by name.
        """
        return self

    def revised(self, plan: Plan, index: int) -> Step:
        """What step `index` does, now that those before it are done: as planned."""
        return plan[index]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        if self.storage is not None:
            content["storage"] = self.storage.to_dict()
        else:
            content.pop("storage", None)  # as in files from before there was such a thing
        return content

    def save(self, path: str | Path) -> None:
        """Write the policy as readable, versioned JSON; `frdiff.load_policy` reads it."""
        Path(path).write_text(self.dumps(), encoding="utf-8")

    def dumps(self) -> str:
        """The JSON text of the policy: its kind, the file version and its fields."""
        kind = vars(type(self)).get("kind")
        if kind is None:
            raise TypeError(f"only frdiff's own policies can be saved, got {type(self).__name__}")
        content = {"frdiff_policy": FILE_VERSION, "kind": kind, **self.to_dict()}
        return json.dumps(content, indent=2) + "\n"

    @property
    def digest(self) -> str:
        """The first 12 digits of the SHA-256 of the policy's file."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:12]

    def _check_made_for(self, made_for: int, num_steps: int, remedy: str) -> None:
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        if num_steps != made_for:
            raise ValueError(
                f"this policy was made for {made_for} steps, the run has {num_steps}; "
                f"run {made_for} steps or {remedy}"
            )

    def _check_features(self) -> None:
        object.__setattr__(self, "targets", _checked_targets(self.targets))
        storage: object = self.storage
        # A file has it as an object of JSON.
        if storage is not None and not isinstance(storage, Storage):
            object.__setattr__(self, "storage", built(Storage, "storage", storage))
        self._check_forecast()

    def _check_forecast(self) -> None:
        check_int("forecast", self.forecast, 0, MAX_FORECAST)
        if self.coordinate not in COORDINATES:
            raise ValueError(f"coordinate must be one of {COORDINATES}, got {self.coordinate!r}")


def _checked_targets(targets: object) -> Targets:
    if isinstance(targets, str):
        if targets not in TARGET_SETS:
            raise ValueError(
                f"targets must be one of {', '.join(map(repr, TARGET_SETS))} or a list of shell "
                f"wildcards over module names, got {quote(targets)}; for one wildcard pass "
                f"[{quote(targets)}]"
            )
        return targets
    patterns = checked_list("targets", targets)
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(
            f"targets must be a list of shell wildcards, at least one, got {quote(patterns)}"
        )
    named = [pattern for pattern in patterns if not pattern.startswith("!")]
    if not named or (len(named) > 1 and SETS_IN_LISTS.keys() & {*named}):
        raise ValueError(
            f"a list of targets has wildcards, or one of {', '.join(SETS_IN_LISTS)}, beside "
            f"exceptions after '!', got {quote(patterns)}"
        )
    return tuple(patterns)
