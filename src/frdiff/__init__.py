"""Diffusion pipelines 2-3x faster without retraining, by reusing features between steps."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from frdiff.version import __version__

if TYPE_CHECKING:
    from frdiff.adapters import register_adapter
    from frdiff.enabling import disable, enable
    from frdiff.models import Match, load_model, load_policy, match
    from frdiff.plan import Action, Plan, Step
    from frdiff.policy import (
        AdaptivePolicy,
        HalfPolicy,
        JumpPolicy,
        KeyframePolicy,
        Policy,
        RangePolicy,
        Storage,
        TablePolicy,
        UniformPolicy,
    )
    from frdiff.run.applying import Run, Stats, apply
    from frdiff.sampling import set_scheduler
    from frdiff.search import bytes_needed, fit_memory, tune

# Where each name lives. It is imported when it is first asked for: torch and diffusers take
# seconds, and neither the command line's help nor the version needs them.
_HOMES = {
    "Action": "plan",
    "AdaptivePolicy": "policy",
    "HalfPolicy": "policy",
    "JumpPolicy": "policy",
    "KeyframePolicy": "policy",
    "Match": "models",
    "Plan": "plan",
    "Policy": "policy",
    "RangePolicy": "policy",
    "Run": "run.applying",
    "Stats": "run.stats",
    "Step": "plan",
    "Storage": "policy",
    "TablePolicy": "policy",
    "UniformPolicy": "policy",
    "apply": "run.applying",
    "bytes_needed": "search",
    "disable": "enabling",
    "enable": "enabling",
    "fit_memory": "search",
    "load_model": "models",
    "load_policy": "models",
    "match": "models",
    "register_adapter": "adapters",
    "set_scheduler": "sampling",
    "tune": "search",
}

__all__ = [
    "Action",
    "AdaptivePolicy",
    "HalfPolicy",
    "JumpPolicy",
    "KeyframePolicy",
    "Match",
    "Plan",
    "Policy",
    "RangePolicy",
    "Run",
    "Stats",
    "Step",
    "Storage",
    "TablePolicy",
    "UniformPolicy",
    "__version__",
    "apply",
    "bytes_needed",
    "disable",
    "enable",
    "fit_memory",
    "load_model",
    "load_policy",
    "match",
    "register_adapter",
    "set_scheduler",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(import_module(f"frdiff.{_HOMES[name]}"), name)
    elif not name.startswith("_") and find_spec(f"frdiff.{name}") is not None:
        found = import_module(f"frdiff.{name}")
    else:
        raise AttributeError(f"module 'frdiff' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
