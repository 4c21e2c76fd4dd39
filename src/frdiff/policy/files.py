"""Policy files: readable, versioned JSON, never trusted when read."""

import json
from pathlib import Path
from typing import Any

from frdiff.policy.adaptive import AdaptivePolicy
from frdiff.policy.base import FILE_VERSION, Policy
from frdiff.policy.checks import built, quote
from frdiff.policy.frames import FramePolicy
from frdiff.policy.halves import HalfPolicy
from frdiff.policy.jumps import JumpPolicy
from frdiff.policy.keyframes import KeyframePolicy
from frdiff.policy.ranges import RangePolicy
from frdiff.policy.table import TablePolicy
from frdiff.policy.uniform import UniformPolicy

__all__ = ["load_policy", "loads"]

MAX_FILE_BYTES = 4_000_000

KINDS = {
    cls.kind: cls
    for cls in (
        UniformPolicy,
        JumpPolicy,
        KeyframePolicy,
        TablePolicy,
        RangePolicy,
        AdaptivePolicy,
        FramePolicy,
        HalfPolicy,
    )
}


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
            f"file version {quote(version)} is not supported, this frdiff reads {FILE_VERSION}"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {quote(kind)}")
    policy: Policy = built(KINDS[kind], "", content)
    return policy


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number a policy can hold")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"keys given twice among {quote([key for key, _ in pairs])}")
    return dict(pairs)
