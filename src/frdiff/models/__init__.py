"""The pipelines that ship with the package and their policies; pipelines by folder or hub id."""

from frdiff.models.matching import Match, match
from frdiff.models.named import Profile, load_policy, profiles
from frdiff.models.shipped import (
    GUIDANCE,
    INPUTS,
    load_model,
    open_pipeline,
    shipped_captions,
    shipped_folder,
    shipped_models,
    shipped_policies,
)

__all__ = [
    "GUIDANCE",
    "INPUTS",
    "Match",
    "Profile",
    "load_model",
    "load_policy",
    "match",
    "open_pipeline",
    "profiles",
    "shipped_captions",
    "shipped_folder",
    "shipped_models",
    "shipped_policies",
]
