"""Where a tuned policy comes from: what it fits, and how it did there."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from frdiff.policy.checks import (
    built,
    check_float,
    check_int,
    check_text,
    checked_list,
    quote,
)
from frdiff.policy.conditions import GUIDANCE, Conditions

__all__ = ["Origin", "config_hash"]

MAX_ENTRIES = 100
MAX_LEVELS = 10_000


@dataclass(frozen=True)
class Origin:
    """What a tuned policy was made for, and how it did there.

    Attributes:
        model: class of the denoiser.
        model_hash: of its configuration, see `config_hash`; weights may differ.
        scheduler: class of the scheduler.
        scheduler_hash: of its configuration.
        num_inference_steps: what to ask the pipeline for; its scheduler may take more steps.
        found_by: the part of the search that found it.
        solver: a name for `frdiff.set_scheduler` where another scheduler than the pipeline's own
            was chosen; None for its own.
        guidance: guidance scale while tuning, or the least and the greatest of a range; None where
            it could not be told.
        conditions: of the run tuned, otherwise; None where they are not known.
        noise_levels: logarithm of the noise level of every step; empty where the scheduler tells
            none.
        versions: of frdiff and the libraries, by name.
        figures: what was measured, by name; dB are a middle over samples.
    """

    model: str
    model_hash: str
    scheduler: str
    scheduler_hash: str
    num_inference_steps: int
    found_by: str
    solver: str | None = None
    guidance: float | tuple[float, float] | None = None
    conditions: Conditions | None = None
    noise_levels: Sequence[float] = ()
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    figures: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("model", "model_hash", "scheduler", "scheduler_hash", "found_by"):
            check_text(name, getattr(self, name))
        if self.solver is not None:
            check_text("solver", self.solver)
        check_int("num_inference_steps", self.num_inference_steps, 1, MAX_LEVELS)
        self._check_guidance()
        conditions: object = self.conditions
        if conditions is not None and not isinstance(conditions, Conditions):
            object.__setattr__(self, "conditions", built(Conditions, "conditions", conditions))
        levels = checked_list("noise_levels", self.noise_levels)
        if len(levels) > MAX_LEVELS:
            raise ValueError(f"noise_levels must be at most {MAX_LEVELS}, got {len(levels)}")
        for level in levels:
            check_float("a noise level", level, -1e4, 1e4)
        object.__setattr__(self, "noise_levels", tuple(levels))
        for name, version in _entries("versions", self.versions).items():
            check_text(f"version of {name}", version)
        for name, figure in _entries("figures", self.figures).items():
            check_float(name, figure, -1e18, 1e18)

    def _check_guidance(self) -> None:
        guidance: object = self.guidance
        if guidance is None:
            return
        if not isinstance(guidance, tuple | list):
            check_float("guidance", guidance, -1e6, 1e6)
            return
        for end in guidance:
            check_float("guidance", end, -1e6, 1e6)
        if len(guidance) != 2 or guidance[0] > guidance[1]:
            raise ValueError(
                f"guidance must be a number, or the least and the greatest, got {quote(guidance)}"
            )
        object.__setattr__(self, "guidance", tuple(guidance))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

    def unlike(self, found: Conditions) -> list[str]:
        """In words, what a run is made under that the policy was not tuned for."""
        said = [] if self.conditions is None else self.conditions.unlike(found)
        scale = found.scales.get(GUIDANCE)
        if self.guidance is None or scale is None:
            return said
        tuned = self.guidance if isinstance(self.guidance, tuple) else (self.guidance,) * 2
        if tuned[0] <= scale <= tuned[1]:
            return said
        near = min(tuned, key=lambda end: abs(end - scale))
        by = f", {scale / near:.2g} times as much" if near > 0 and scale > 0 else ""
        whole = f"{tuned[0]:g}" if tuned[0] == tuned[1] else f"{tuned[0]:g} to {tuned[1]:g}"
        return [f"guidance_scale is {scale:g}, not {whole}{by}", *said]

    def check_model(self, denoiser: Any) -> None:
        """Refuse a denoiser of another class or configuration.

        Raises:
            ValueError: it is another.
        """
        found = type(denoiser).__name__, config_hash(denoiser)
        if found != (self.model, self.model_hash):
            raise ValueError(
                f"this policy was tuned on {_said(self.model, self.model_hash)}, got "
                f"{_said(*found)}; run frdiff.tune on this model"
            )

    def check_scheduler(self, scheduler: Any) -> None:
        """Refuse a scheduler of another class or configuration.

        Raises:
            ValueError: it is another.
        """
        found = type(scheduler).__name__, config_hash(scheduler)
        if found != (self.scheduler, self.scheduler_hash):
            remedy = (
                "set the scheduler that it was tuned with"
                if self.solver is None
                else f"call frdiff.set_scheduler(pipe, {self.solver!r}) first"
            )
            raise ValueError(
                f"this policy was tuned with {_said(self.scheduler, self.scheduler_hash)}, got "
                f"{_said(*found)}; {remedy}, or run frdiff.tune with this one"
            )


def config_hash(component: Any) -> str:
    """The first 12 digits of the SHA-256 of the configuration of a diffusers model or scheduler.

    Entries that its constructor does not take do not count: where it was loaded from, and what
    another class left behind.
    """
    known = inspect.signature(type(component).__init__).parameters
    kept = {name: value for name, value in component.config.items() if name in known}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _said(name: str, digits: str) -> str:
    return f"{name} (configuration {digits})"


def _entries(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MAX_ENTRIES:
        raise ValueError(f"{name} must be an object of at most {MAX_ENTRIES}, got {quote(value)}")
    for key in value:
        check_text(f"a name in {name}", key)
    return value
