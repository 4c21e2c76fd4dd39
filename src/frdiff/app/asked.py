"""What somebody typed, checked: the value got, the values allowed."""

import math
from collections.abc import Sequence
from pathlib import Path

from frdiff.policy import Policy, load_policy
from frdiff.policy.checks import check_float, check_int, quote

__all__ = ["MAX_STEPS", "empty", "number", "one_of", "prompts_of", "scales", "uploaded", "whole"]

MAX_STEPS = 250  # a page is for looking; `frdiff generate` takes more
MAX_PROMPT = 1000
MAX_PROMPTS = 500
MAX_SCALE = 100.0
MOST_DIGITS = 40


def whole(name: str, value: object, low: int, high: int) -> int:
    """The integer from `low` to `high` in a field, a number or its text.

    Raises:
        ValueError: it is empty or something else.
    """
    value = _read(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        check_int(name, value, low, high)
    except TypeError as error:
        raise ValueError(str(error)) from error
    assert isinstance(value, int)
    return value


def number(name: str, value: object, low: float, high: float) -> float:
    """The number from `low` to `high` in a field, a number or its text.

    Raises:
        ValueError: it is empty, not a number or out of range.
    """
    value = _read(value)
    try:
        check_float(name, value, low, high)
    except TypeError as error:
        raise ValueError(str(error)) from error
    assert isinstance(value, int | float)
    return float(value)


def empty(value: object) -> bool:
    """Whether a field has nothing in it."""
    return value is None or (isinstance(value, str) and not value.strip())


def _read(value: object) -> object:
    """The number in a short text; anything else as it is."""
    if not isinstance(value, str) or len(value) > MOST_DIGITS:
        return value
    try:
        return float(value)
    except ValueError:
        return value


def one_of(name: str, value: object, known: Sequence[str]) -> str:
    """The value, if it is one of the known.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {quote(value)}")
    return value


def scales(text: object, default: float | None) -> float | tuple[float, float] | None:
    """The guidance scale in a text, or the two ends of a range such as 2-8.

    Args:
        default: for an empty field.

    Raises:
        ValueError: it is neither.
    """
    if empty(text):
        return default
    ends = []
    for part in str(text)[:50].split("-"):
        try:
            ends.append(float(part))
        except ValueError:
            ends.append(math.nan)
    if not all(0 <= end <= MAX_SCALE for end in ends) or len(ends) > 2 or ends != sorted({*ends}):
        raise ValueError(
            f"guidance must be a number from 0 to {MAX_SCALE:g} such as 7.5, or a range such as "
            f"2-8; got {quote(text)}"
        )
    return ends[0] if len(ends) == 1 else (ends[0], ends[1])


def prompts_of(text: object, needed: bool, most: int = MAX_PROMPTS) -> list[str]:
    """The prompts in a text, one a line; of an unconditional pipeline an empty one.

    Args:
        needed: whether the pipeline draws from prompts.
        most: as many at most.

    Raises:
        ValueError: there is none, too many, or one that is too long.
    """
    if not needed:
        return [""]
    lines = [" ".join(line.split()) for line in str(text or "").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError("the prompt is empty; say what to draw")
    if len(lines) > most:
        raise ValueError(f"give at most {most} prompts, one a line; got {len(lines)}")
    longest = max(map(len, lines))
    if longest > MAX_PROMPT:
        raise ValueError(f"a prompt has at most {MAX_PROMPT} characters, got {longest}")
    return lines


def uploaded(path: str) -> Policy:
    """The policy in a file that somebody uploaded; nothing in it is trusted.

    Raises:
        ValueError: it is no policy file; the text names the file without its folder.
    """
    try:
        return load_policy(path)
    except (OSError, ValueError) as error:
        name = quote(Path(path).name)
        raise ValueError(str(error).replace(str(path), name)) from error
