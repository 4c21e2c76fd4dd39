"""Policies: what decides, for every step, whether to compute, to reuse or to jump.

A policy is a small frozen value. `plan(num_steps)` gives its explicit table, `save` and
`load_policy` keep it as readable JSON.

References:
    FRDiff: Feature Reuse for Universal Training-free Acceleration of Diffusion Models
    (So, Lee, Park, ECCV 2024, arXiv 2312.03517).
"""

from frdiff.policy.adaptive import AdaptivePolicy
from frdiff.policy.base import TARGET_SETS, Policy, Targets
from frdiff.policy.conditions import Conditions
from frdiff.policy.files import load_policy, loads
from frdiff.policy.frames import FramePolicy
from frdiff.policy.halves import HalfPolicy
from frdiff.policy.jumps import JumpPolicy
from frdiff.policy.keyframes import KeyframePolicy
from frdiff.policy.origin import Origin, config_hash
from frdiff.policy.ranges import RangePolicy
from frdiff.policy.storage import Storage
from frdiff.policy.table import TablePolicy
from frdiff.policy.uniform import UniformPolicy

__all__ = [
    "TARGET_SETS",
    "AdaptivePolicy",
    "Conditions",
    "FramePolicy",
    "HalfPolicy",
    "JumpPolicy",
    "KeyframePolicy",
    "Origin",
    "Policy",
    "RangePolicy",
    "Storage",
    "TablePolicy",
    "Targets",
    "UniformPolicy",
    "config_hash",
    "load_policy",
    "loads",
]
