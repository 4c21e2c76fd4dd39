"""Diffusion pipelines 2-3x faster without retraining, by reusing features between steps."""

from frdiff.adapters import register_adapter
from frdiff.models import load_model
from frdiff.plan import Action, Plan, Step
from frdiff.policy import (
    AdaptivePolicy,
    JumpPolicy,
    KeyframePolicy,
    Policy,
    TablePolicy,
    UniformPolicy,
    load_policy,
)
from frdiff.run import Run, Stats, apply
from frdiff.sampling import set_scheduler
from frdiff.search import tune

__all__ = [
    "Action",
    "AdaptivePolicy",
    "JumpPolicy",
    "KeyframePolicy",
    "Plan",
    "Policy",
    "Run",
    "Stats",
    "Step",
    "TablePolicy",
    "UniformPolicy",
    "apply",
    "load_model",
    "load_policy",
    "register_adapter",
    "set_scheduler",
    "tune",
]
