"""Checks of fields that may come from a file: the value got, the values allowed."""

import reprlib
from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

__all__ = [
    "MAX_WEIGHT",
    "built",
    "check_float",
    "check_int",
    "check_text",
    "check_weights",
    "checked_list",
    "quote",
    "sums_to_one",
]

T = TypeVar("T")

SUM_TOLERANCE = 1e-6
MAX_WEIGHT = 100.0
MAX_TEXT = 200


def quote(value: object) -> str:
    """The value for an error message, cut where it is long."""
    return reprlib.repr(value)


def built(kind: type[T], name: str, content: object) -> T:
    """The dataclass in an object of JSON, called `name` in errors if it is part of another.

    It must have just its fields; those that say nothing by default, None or False, may be left out,
    as older files do. What is in them the dataclass checks.
    """
    if not isinstance(content, dict):
        raise TypeError(f"{name or 'a policy'} must be an object, got {quote(content)}")
    entries = {entry.name: entry.default for entry in fields(kind)}  # type: ignore[arg-type]
    optional = {entry for entry, default in entries.items() if default is None or default is False}
    unknown, missing = content.keys() - entries, entries.keys() - content.keys() - optional
    if unknown or missing:
        whose = f" of {name}" if name else ""
        raise ValueError(
            f"fields{whose} unknown: {quote(sorted(unknown))}, missing: {sorted(missing)}"
        )
    return kind(**content)


def check_int(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer from {low} to {high}, got {quote(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def check_float(name: str, value: object, low: float, high: float) -> None:
    """Refuse what is no number from `low` to `high`; NaN too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}, got {quote(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value}")


def check_text(name: str, value: object) -> None:
    """Refuse what is no printable text of 1 to `MAX_TEXT` characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name} must be a text of 1 to {MAX_TEXT} characters, got {quote(value)}")


def checked_list(name: str, value: object) -> list:
    """The value as a list; a TypeError where it is none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list, got {quote(value)}")
    return list(value)


def sums_to_one(weights: Sequence[float]) -> bool:
    """Whether weights do, but for rounding."""
    return abs(sum(weights) - 1) <= SUM_TOLERANCE


def check_weights(name: str, value: object, most: int, *, free: bool = False) -> tuple[float, ...]:
    """One to `most` weights that sum to 1, or to anything where they are free."""
    weights = checked_list(name, value)
    if not 1 <= len(weights) <= most:
        raise ValueError(f"{name} must be 1 to {most} numbers, got {len(weights)}")
    for weight in weights:
        check_float(name, weight, -MAX_WEIGHT, MAX_WEIGHT)
    if not free and not sums_to_one(weights):
        raise ValueError(f"{name} must sum to 1, got {quote(weights)}")
    return tuple(weights)
