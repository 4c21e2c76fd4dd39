"""A policy that stays on a pipeline until it is told otherwise, as hooks of diffusers do."""

from pathlib import Path

from diffusers import DiffusionPipeline

from frdiff.models.matching import match, why_not
from frdiff.models.named import RULES, load_policy, profiles
from frdiff.models.shipped import shipped_models
from frdiff.network.denoisers import find_denoisers
from frdiff.policy import Policy
from frdiff.policy import load_policy as read_policy
from frdiff.run.applying import Run, apply
from frdiff.run.patch import patch_of
from frdiff.schedulers.named import set_scheduler

__all__ = ["disable", "enable"]


def enable(
    pipe: DiffusionPipeline, policy: Policy | str | Path, *, max_bytes: int | None = None
) -> Run:
    """The run of a policy that stays on a pipeline, until `disable` or another `enable`.

    The solver that a tuned policy asks for is set, and given back by `disable`. Call the pipeline
    with `num_inference_steps=run.policy.origin.num_inference_steps`, where there is such.

        run = frdiff.enable(pipe, "high")
        pipe("red apple", num_inference_steps=run.policy.origin.num_inference_steps)
        frdiff.disable(pipe)

    Args:
        pipe: any diffusers pipeline.
        policy: a policy; a file's path; a name such as `"emoji/high"`; or a profile, `"lossless"`,
            `"high"` or `"fast"`, of a shipped model that the pipeline fits. One that is on already
            stays as it is.
        max_bytes: see `frdiff.apply`.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: the policy does not fit, or its file is none; see `frdiff.match` for those that
            do. What was on the pipeline before stays on it then.
    """
    chosen = _chosen(pipe, policy)
    reason = why_not(pipe, chosen)
    if reason is not None:
        raise ValueError(reason)
    now = _run_on(pipe)
    if now is not None and (now.policy, now.max_bytes) == (chosen, max_bytes):
        return now
    disable(pipe)
    before = pipe.scheduler
    if chosen.origin is not None and chosen.origin.solver is not None:
        set_scheduler(pipe, chosen.origin.solver)
    ours = pipe.scheduler
    try:
        run = apply(pipe, chosen, max_bytes=max_bytes)
    except BaseException:
        pipe.scheduler = before
        raise

    def give_back() -> None:
        if pipe.scheduler is ours:  # another one that was set since is its owner's
            pipe.scheduler = before

    run.on_removal(give_back)
    return run


def disable(pipe: DiffusionPipeline) -> None:
    """Take off whatever policy is on a pipeline's denoisers; harmless where none is.

    Raises:
        ValueError: the pipeline has no denoiser.
    """
    run = _run_on(pipe)
    if run is not None:
        run.remove()


def _run_on(pipe: DiffusionPipeline) -> Run | None:
    """The run that holds the pipeline's denoisers; None if none does."""
    patches = [patch_of(denoiser) for denoiser in find_denoisers(pipe).values()]
    return next((patch.run for patch in patches if patch is not None), None)


def _chosen(pipe: DiffusionPipeline, policy: Policy | str | Path) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if policy not in RULES:
        return load_policy(policy)
    for model in shipped_models():
        profile = profiles(model).get(str(policy))
        if profile is not None and why_not(pipe, found := read_policy(profile.path)) is None:
            return found
    fitting = [row.name for row in match(pipe) if row.fits]
    there = f"those that fit: {', '.join(fitting)}" if fitting else "run frdiff.tune"
    raise ValueError(
        f"no shipped policy called {policy!r} fits this {type(pipe).__name__} "
        f"(frdiff.match says why); {there}"
    )
