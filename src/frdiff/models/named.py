"""Named profiles: of the policies that ship with a model, the fastest that keeps to a rule.

What was measured of each ships as `profiles.json` beside the model; `make bench-profiles` writes
that file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frdiff.models.shipped import APART, shipped_folder, shipped_models
from frdiff.policy import Policy
from frdiff.policy import load_policy as read_policy

__all__ = [
    "RULES",
    "Measured",
    "Profile",
    "Profiles",
    "chosen",
    "load_policy",
    "policy_paths",
    "profiles",
    "read_profiles",
]

ONE_LEVEL = 48.13  # dB: an error of one of 256 levels, 20 log10(255)
LOSS = 3.0  # dB
LEAST = 30.0  # dB
SPEEDUP = 3.0

RULES = {
    "lossless": (
        "the fastest that is at least as close to the converged solution as the full run, and "
        "within one of 256 levels of it"
    ),
    "high": (
        f"the fastest at most {LOSS:g} dB further from the converged solution than the full run"
    ),
    "fast": (
        f"the fastest of {SPEEDUP:g}x and more within {LEAST:g} dB of the converged solution, or "
        "the one of them that comes closest"
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a policy, or the full run, reaches at the guidance scales of its range.

    Attributes:
        calls: steps with a network call.
        decibels: median PSNR to the converged solution in dB, at each guidance scale.
        policy: the stem of its file; None for the full run.
        policy_hash: of the policy; None for the full run.
    """

    calls: int
    decibels: Sequence[float]
    policy: str | None = None
    policy_hash: str | None = None


@dataclass(frozen=True)
class Profiles:
    """What was measured of all policies of a model, and which of them has which name.

    Attributes:
        about: hardware, dtype, versions, pictures and seed.
        guidance: scales measured; one None for a model without.
        full: the full run.
        policies: those for that run.
        names: stems of policy files, by profile.
    """

    about: Mapping[str, Any]
    guidance: Sequence[float | None]
    full: Measured
    policies: Sequence[Measured]
    names: Mapping[str, str]

    def to_json(self) -> str:
        """The text of the file, for `read_profiles`."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class Profile:
    """A shipped policy by the name of its quality.

    Attributes:
        model: that it ships with.
        name: "lossless", "high" or "fast".
        path: of the policy file.
        rule: that it keeps to, at every guidance scale measured.
        guidance: the scales measured; one None for a model without.
        measured, full: of the policy and of the full run.
    """

    model: str
    name: str
    path: Path
    rule: str
    guidance: Sequence[float | None]
    measured: Measured
    full: Measured

    @property
    def speedup(self) -> float:
        """Network calls of the full run over the policy's."""
        return self.full.calls / self.measured.calls


def chosen(full: Measured, policies: Sequence[Measured]) -> dict[str, str]:
    """The policy of each profile whose rule one keeps to, by name; see `RULES`."""

    def lossless(one: Measured) -> bool:
        close = all(db >= own for db, own in zip(one.decibels, full.decibels, strict=True))
        return close and min(one.decibels) >= ONE_LEVEL

    def high(one: Measured) -> bool:
        return all(db >= own - LOSS for db, own in zip(one.decibels, full.decibels, strict=True))

    fast = [one for one in policies if full.calls >= SPEEDUP * one.calls]
    found = {
        "lossless": _fastest(policies, lossless),
        "high": _fastest(policies, high),
        "fast": _fastest(fast, lambda one: min(one.decibels) >= LEAST)
        or max(fast, key=lambda one: min(one.decibels), default=None),
    }
    return {name: str(one.policy) for name, one in found.items() if one is not None}


def _fastest(policies: Sequence[Measured], keeps: Callable[[Measured], bool]) -> Measured | None:
    return min(filter(keeps, policies), key=lambda one: one.calls, default=None)


def read_profiles(model: str) -> Profiles:
    """What was measured of the policies that ship with a model.

    Raises:
        ValueError: no such shipped model, or nothing was measured of it.
    """
    path = shipped_folder(model) / "profiles.json"
    if not path.is_file():
        raise ValueError(f"{model} has no profiles; its policies: frdiff.models.shipped_policies")
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [Measured(**row) for row in content.pop("policies")]
    return Profiles(full=Measured(**content.pop("full")), policies=rows, **content)


def profiles(model: str) -> dict[str, Profile]:
    """The profiles of a shipped model, by name.

    Raises:
        ValueError: no such shipped model, or nothing was measured of it.
    """
    known = read_profiles(model)
    rows = {row.policy: row for row in known.policies}
    folder = shipped_folder(model) / "policies"
    return {
        name: Profile(
            model,
            name,
            folder / f"{stem}.json",
            RULES[name],
            known.guidance,
            rows[stem],
            known.full,
        )
        for name, stem in known.names.items()
    }


def policy_paths(model: str) -> dict[str, Path]:
    """The policy files of a shipped model by their names: its profiles, and the stems of all files.

    Raises:
        ValueError: no such shipped model, or nothing was measured of it.
    """
    files = sorted((shipped_folder(model) / "policies").glob("*.json"))
    named = {profile.name: profile.path for profile in profiles(model).values()}
    return named | {path.stem: path for path in files}


def load_policy(source: str | Path) -> Policy:
    """The policy in a file that `policy.save` wrote, or one that ships, such as `"emoji/high"`.

    A name is that of a shipped model and, after the slash, a profile (`"lossless"`, `"high"`,
    `"fast"`) or the stem of one of its policy files. A file of that name comes first. Nothing in a
    file is trusted.

    Raises:
        FileNotFoundError: no such file, and no such name.
        ValueError: not a policy file: too large, not JSON, of another version, or with fields
            unknown, missing or out of range; the text names the file and the field.
    """
    path = Path(source)
    model, _, name = str(source).partition("/")
    if path.is_file() or model not in (*shipped_models(), *APART) or "/" in name:
        return read_policy(path)
    named = policy_paths(model)
    if name not in named:
        raise FileNotFoundError(
            f"no file {source}, and {model} has no policy {name!r}; it has {', '.join(named)}"
        )
    return read_policy(named[name])
