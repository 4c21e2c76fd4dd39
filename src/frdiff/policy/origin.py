"""Where a tuned policy comes from: what it fits, and how it did there."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from frdiff.policy.checks import check_float, check_int, checked_list, quote

__all__ = ["Origin", "config_hash"]

MAX_TEXT = 200
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
        guidance: guidance scale while tuning; None for the pipeline's default.
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
    guidance: float | None = None
    noise_levels: Sequence[float] = ()
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    figures: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("model", "model_hash", "scheduler", "scheduler_hash", "found_by"):
            _check_text(name, getattr(self, name))
        if self.solver is not None:
            _check_text("solver", self.solver)
        check_int("num_inference_steps", self.num_inference_steps, 1, MAX_LEVELS)
        if self.guidance is not None:
            check_float("guidance", self.guidance, -1e6, 1e6)
        levels = checked_list("noise_levels", self.noise_levels)
        if len(levels) > MAX_LEVELS:
            raise ValueError(f"noise_levels must be at most {MAX_LEVELS}, got {len(levels)}")
        for level in levels:
            check_float("a noise level", level, -1e4, 1e4)
        object.__setattr__(self, "noise_levels", tuple(levels))
        for name, version in _entries("versions", self.versions).items():
            _check_text(f"version of {name}", version)
        for name, figure in _entries("figures", self.figures).items():
            check_float(name, figure, -1e18, 1e18)

    @classmethod
    def from_dict(cls, content: object) -> "Origin":
        """The origin in a policy file; every field is checked."""
        if not isinstance(content, dict):
            raise TypeError(f"origin must be an object, got {quote(content)}")
        known = {entry.name for entry in fields(cls)}
        if content.keys() != known:
            unknown, missing = sorted(content.keys() - known), sorted(known - content.keys())
            raise ValueError(f"fields of origin unknown: {quote(unknown)}, missing: {missing}")
        return cls(**content)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

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


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name} must be a text of 1 to {MAX_TEXT} characters, got {quote(value)}")


def _entries(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MAX_ENTRIES:
        raise ValueError(f"{name} must be an object of at most {MAX_ENTRIES}, got {quote(value)}")
    for key in value:
        _check_text(f"a name in {name}", key)
    return value
