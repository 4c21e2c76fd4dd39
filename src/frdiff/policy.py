"""Policies: what decides, for every step, whether to compute, to reuse or to jump.

A policy is a small frozen value. `plan(num_steps)` gives its explicit table, `save` and
`load_policy` keep it as readable JSON.

References:
    FRDiff: Feature Reuse for Universal Training-free Acceleration of Diffusion Models
    (So, Lee, Park, ECCV 2024, arXiv 2312.03517).
"""

import bisect
import json
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from frdiff.mixing import mixing_weight
from frdiff.plan import Plan

__all__ = ["KeyframePolicy", "Policy", "UniformPolicy", "load_policy"]

MAX_FORECAST = 2
MAX_STEPS = 10_000
TARGET_SETS = ("paper", "residual", "all")
COORDINATES = ("step", "noise")
ALIGNMENTS = ("start", "end")
FILE_VERSION = 1
MAX_FILE_BYTES = 4_000_000

Targets = str | Sequence[str]


class Policy(ABC):
    """What all policies share: which features are reused and how they are forecast.

    Attributes:
        forecast: 0 copies the last keyframe's feature, 1 extrapolates linearly from the last two,
            2 quadratically from the last three. Each order stores one feature more per target.
        targets: `"paper"`: U-Net `conv1` outputs and transformer residuals, DiT attention;
            `"residual"`: whole residual branches, cheaper and closer; `"all"`: down- and
            up-samplers of U-Nets too, cheapest and, with a linear forecast, as close; or shell
            wildcards over module names, such as `["*.attn1", "*.ff"]`.
        coordinate: what forecasts extrapolate in: `"step"`, the step index, or `"noise"`, the
            logarithm of the noise level.
    """

    forecast: int
    targets: Targets
    coordinate: str

    @property
    @abstractmethod
    def reuses(self) -> bool:
        """Whether any run under this policy can have a reuse step or a jump."""

    @property
    @abstractmethod
    def mixes(self) -> bool:
        """Whether any step can take an earlier score, in part or (a jump) alone."""

    @abstractmethod
    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write the policy as readable, versioned JSON; `frdiff.load_policy` reads it."""
        Path(path).write_text(dumps(self), encoding="utf-8")

    def _check_features(self) -> None:
        object.__setattr__(self, "targets", _checked_targets(self.targets))
        _check_int("forecast", self.forecast, 0, MAX_FORECAST)
        if self.coordinate not in COORDINATES:
            raise ValueError(f"coordinate must be one of {COORDINATES}, got {self.coordinate!r}")


@dataclass(frozen=True)
class UniformPolicy(Policy):
    """The paper's policy: evenly spaced keyframes, score mixing in between; any step count.

    Attributes:
        interval: steps from one keyframe to the next. 1 computes every step; larger is faster.
        align: `"start"` counts them from step 0, as the paper does; `"end"` from the last step,
            where features move fastest, and leaves what is over to the first gap.
        bias: where the mixing weight crosses 1/2, as a fraction of the run in [0, 1]. Larger:
            more jumps, faster, softer detail.
        tau: steepness of the mixing ramp, above 0.
        mixing: False takes the reuse score alone: no jumps, no earlier scores.
        forecast, targets, coordinate: see `Policy`.
    """

    interval: int
    bias: float = 0.5
    tau: float = 30.0
    mixing: bool = True
    forecast: int = 0
    targets: Targets = "paper"
    coordinate: str = "step"
    align: str = "start"

    def __post_init__(self) -> None:
        self._check_features()
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align must be one of {ALIGNMENTS}, got {_quote(self.align)}")
        _check_int("interval", self.interval, 1, MAX_STEPS)
        _check_float("bias", self.bias, 0.0, 1.0)
        _check_float("tau", self.tau, 1e-6, 1e6)
        if not isinstance(self.mixing, bool):
            raise TypeError(f"mixing must be True or False, got {self.mixing!r}")

    @property
    def reuses(self) -> bool:
        """Whether any run under this policy can have a reuse step or a jump."""
        return self.interval > 1

    @property
    def mixes(self) -> bool:
        """Whether any step can take an earlier score, in part or (a jump) alone."""
        return self.reuses and self.mixing

    def plan(self, num_steps: int) -> Plan:
        """The explicit table for a run of `num_steps` steps (1 to 10,000)."""
        _check_int("num_steps", num_steps, 1, MAX_STEPS)
        weights = [
            mixing_weight(i, num_steps, self.bias, self.tau) if self.mixing else 1.0
            for i in range(num_steps)
        ]
        keyframes = range(0, num_steps, self.interval)
        if self.align == "end":
            # No keyframe within the first interval but step 0: the first gap takes what is over.
            keyframes = range(num_steps - 1, self.interval - 1, -self.interval)
        return Plan.from_keyframes({0, *keyframes}, weights)


@dataclass(frozen=True)
class KeyframePolicy(Policy):
    """An explicit schedule for one step count.

    Attributes:
        num_steps: steps of the run this schedule is for.
        keyframes: indices computed in full; 0 must be among them.
        mixing_weights: one number in [0, 1] per step, 0 = jump, ignored at keyframes; None
            takes the reuse score alone on every step.
        forecast, targets, coordinate: see `Policy`.
    """

    num_steps: int
    keyframes: Sequence[int]
    mixing_weights: Sequence[float] | None = None
    forecast: int = 0
    targets: Targets = "paper"
    coordinate: str = "step"

    def __post_init__(self) -> None:
        self._check_features()
        _check_int("num_steps", self.num_steps, 1, MAX_STEPS)
        keyframes = _checked_list("keyframes", self.keyframes)
        for index in keyframes:
            _check_int("a keyframe", index, 0, self.num_steps - 1)
        if 0 not in keyframes:
            raise ValueError(f"step 0 must be a keyframe, got {_quote(keyframes)}; add 0")
        if len(set(keyframes)) != len(keyframes):
            raise ValueError(f"keyframes must be different, got {_quote(keyframes)}")
        object.__setattr__(self, "keyframes", tuple(sorted(keyframes)))
        if self.mixing_weights is None:
            return
        weights = _checked_list("mixing_weights", self.mixing_weights)
        if len(weights) != self.num_steps:
            raise ValueError(
                f"mixing_weights needs one number per step, {self.num_steps} in all, "
                f"got {len(weights)}"
            )
        for weight in weights:
            _check_float("a mixing weight", weight, 0.0, 1.0)
        object.__setattr__(self, "mixing_weights", tuple(weights))

    @property
    def reuses(self) -> bool:
        """Whether the run has a reuse step or a jump."""
        return len(self.keyframes) < self.num_steps

    @property
    def mixes(self) -> bool:
        """Whether any step takes an earlier score, in part or (a jump) alone."""
        return any(step.mixing_weight < 1 for step in self.plan(self.num_steps))

    def plan(self, num_steps: int) -> Plan:
        """The explicit table.

        Raises:
            ValueError: `num_steps` is not the step count this policy was made for.
        """
        _check_int("num_steps", num_steps, 1, MAX_STEPS)
        if num_steps != self.num_steps:
            raise ValueError(
                f"this policy was made for {self.num_steps} steps, the run has {num_steps}; "
                f"run {self.num_steps} steps or use policy.resample({num_steps})"
            )
        weights = self.mixing_weights or (1.0,) * num_steps
        return Plan.from_keyframes(set(self.keyframes), list(weights))

    def resample(self, num_steps: int) -> "KeyframePolicy":
        """The same schedule for a run of another length.

        Keyframes and mixing weights keep their place as a fraction of the run. Keyframes that
        fall on the same step become one, so fewer steps have fewer keyframes.
        """
        _check_int("num_steps", num_steps, 1, MAX_STEPS)
        scale = (num_steps - 1) / max(self.num_steps - 1, 1)
        keyframes = sorted({round(index * scale) for index in self.keyframes})
        weights = None
        if self.mixing_weights is not None:
            # A keyframe's own weight means nothing, so each step asks the nearest other step.
            free = [i for i in range(self.num_steps) if i not in self.keyframes]
            weights = [
                self.mixing_weights[_nearest(free, i / scale if scale else 0.0)] if free else 1.0
                for i in range(num_steps)
            ]
        return replace(self, num_steps=num_steps, keyframes=keyframes, mixing_weights=weights)


KINDS: dict[str, type[UniformPolicy] | type[KeyframePolicy]] = {
    "uniform": UniformPolicy,
    "keyframes": KeyframePolicy,
}


def dumps(policy: Policy) -> str:
    """The JSON text of a policy: its kind, the file version and its fields."""
    kind = next((name for name, known in KINDS.items() if type(policy) is known), None)
    if kind is None:
        known = ", ".join(cls.__name__ for cls in KINDS.values())
        raise TypeError(f"only {known} can be saved, got {type(policy).__name__}")
    content = {"frdiff_policy": FILE_VERSION, "kind": kind, **policy.to_dict()}
    return json.dumps(content, indent=2) + "\n"


def load_policy(path: str | Path) -> Policy:
    """The policy in a file that `policy.save` wrote. Nothing in the file is trusted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a policy file: too large, not JSON, of another version, or with fields
            unknown, missing or out of range; the text names the file and the field.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a policy file has at most {MAX_FILE_BYTES} bytes, got {size}")
    try:
        return loads(path.read_bytes())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a valid policy file: {error}") from error


def loads(text: str | bytes) -> Policy:
    """The policy in a JSON text; see `load_policy` for what is refused."""
    content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    if not isinstance(content, dict) or "frdiff_policy" not in content:
        raise ValueError('the top level must be an object with the key "frdiff_policy"')
    version, kind = content.pop("frdiff_policy"), content.pop("kind", None)
    if version != FILE_VERSION or isinstance(version, bool):
        raise ValueError(
            f"file version {_quote(version)} is not supported, this frdiff reads {FILE_VERSION}"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {_quote(kind)}")
    known = {field.name for field in fields(KINDS[kind])}
    if content.keys() != known:
        unknown, missing = sorted(content.keys() - known), sorted(known - content.keys())
        raise ValueError(f"fields unknown: {_quote(unknown)}, missing: {missing}")
    return KINDS[kind](**content)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number a policy can hold")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"keys given twice among {_quote([key for key, _ in pairs])}")
    return dict(pairs)


def _nearest(ascending: list[int], value: float) -> int:
    place = bisect.bisect_left(ascending, value)
    return min(ascending[max(place - 1, 0) : place + 1], key=lambda item: abs(item - value))


def _quote(value: object) -> str:
    """The value for an error message, cut where it is long."""
    return reprlib.repr(value)


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer from {low} to {high}, got {_quote(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def _check_float(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}, got {_quote(value)}")
    if not low <= value <= high:  # refuses NaN too
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value}")


def _checked_list(name: str, value: object) -> list:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list, got {_quote(value)}")
    return list(value)


def _checked_targets(targets: object) -> Targets:
    if isinstance(targets, str):
        if targets not in TARGET_SETS:
            raise ValueError(
                f"targets must be one of {', '.join(map(repr, TARGET_SETS))} or a list of shell "
                f"wildcards over module names, got {_quote(targets)}; for one wildcard pass "
                f"[{_quote(targets)}]"
            )
        return targets
    patterns = _checked_list("targets", targets)
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(
            f"targets must be a list of shell wildcards, at least one, got {_quote(patterns)}"
        )
    return tuple(patterns)
