"""Which of the policies that ship fit a pipeline, and why others do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers import DiffusionPipeline

from frdiff.models.named import policy_paths
from frdiff.models.shipped import shipped_models
from frdiff.network.denoisers import find_denoisers
from frdiff.policy import Origin, Policy
from frdiff.policy import load_policy as read_policy
from frdiff.schedulers.named import scheduler_for

__all__ = ["Match", "match", "why_not"]


@dataclass(frozen=True)
class Match:
    """Whether a policy fits a pipeline.

    Attributes:
        name: for `frdiff.load_policy`.
        fits: whether `frdiff.enable` can put it on the pipeline.
        why: what it was tuned for, or what does not fit.
    """

    name: str
    fits: bool
    why: str


def match(pipe: DiffusionPipeline, paths: Sequence[str | Path] | None = None) -> list[Match]:
    """A line for every policy file, those that fit first; nothing is changed on the pipeline.

    Weights are not looked at: what was tuned on a model fits those finetuned from it too, and is
    worth a look there.

    Args:
        pipe: any diffusers pipeline.
        paths: policy files; None for all that ship, profiles by their names.

    Raises:
        FileNotFoundError, ValueError: of a file, see `frdiff.load_policy`.
        ValueError: the pipeline has no denoiser.
    """
    named = shipped() if paths is None else {str(path): Path(path) for path in paths}
    rows = []
    for name, path in named.items():
        policy = read_policy(path)
        reason = why_not(pipe, policy)
        rows.append(Match(name, reason is None, _made_for(policy) if reason is None else reason))
    return sorted(rows, key=lambda row: not row.fits)


def shipped() -> dict[str, Path]:
    """The files of all policies that ship, by name; profiles come before what they are made of."""
    return {
        f"{model}/{name}": path
        for model in shipped_models()
        for name, path in policy_paths(model).items()
    }


def why_not(pipe: DiffusionPipeline, policy: Policy) -> str | None:
    """In words, why a policy cannot be put on a pipeline; None if it can."""
    denoiser = next(iter(find_denoisers(pipe).values()))
    if policy.origin is None:
        return None
    try:
        policy.origin.check_model(denoiser)
        solver = policy.origin.solver
        policy.origin.check_scheduler(scheduler_for(pipe, solver) if solver else pipe.scheduler)
    except ValueError as error:
        return str(error)
    return None


def _made_for(policy: Policy) -> str:
    return "needs no tuning" if policy.origin is None else _tuned_for(policy.origin)


def _tuned_for(origin: Origin) -> str:
    if isinstance(origin.guidance, tuple):
        guidance = "guidance {:g} to {:g}, ".format(*origin.guidance)
    else:
        guidance = "" if origin.guidance is None else f"guidance {origin.guidance:g}, "
    return f"tuned for {guidance}num_inference_steps={origin.num_inference_steps}"
