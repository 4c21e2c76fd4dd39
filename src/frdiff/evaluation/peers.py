"""Peers, each used as its own documentation says, on the models that it supports.

Those written here, from papers, are in `frdiff.evaluation.opponents`.

Every one is a context manager that yields what to sample from. Those that cannot be taken off
again work on a copy of the pipeline. Where a peer needs glue because the pipeline does not call
it, the comment says so.
"""

import contextlib
import copy
import functools
import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from diffusers import DiffusionPipeline
from diffusers.hooks.hooks import CacheContext, HookRegistry, _set_cache_context
from torch import nn

from frdiff.evaluation.opponents import OPPONENTS
from frdiff.evaluation.registry import Attach, Peer
from frdiff.network.denoisers import find_denoisers
from frdiff.sampling import sample
from frdiff.schedulers.clock import Clock

__all__ = ["CALIBRATION_SEED", "PEERS", "attach_peer", "peer_absence"]

PEERS: dict[str, Peer] = dict(OPPONENTS)
CALIBRATED = ("magcache",)
CALIBRATION_SEED = 123_456


def _peer(package: str, module: str, *denoisers: str) -> Callable[[Attach], Attach]:
    def add(attach: Attach) -> Attach:
        name = attach.__name__
        PEERS[name] = Peer(package, module, denoisers, attach)
        return attach

    return add


def peer_absence(name: str, pipe: DiffusionPipeline) -> str | None:
    """Why a peer cannot run on `pipe`, in words; None if it can."""
    peer = PEERS[name]
    if importlib.util.find_spec(peer.module) is None:
        return f"not installed (pip install {peer.package})"
    classes = [type(denoiser).__name__ for denoiser in find_denoisers(pipe).values()]
    if peer.denoisers is not None and not set(classes) <= set(peer.denoisers):
        return f"does not support {', '.join(classes)}"
    return None


@contextmanager
def attach_peer(
    name: str,
    pipe: DiffusionPipeline,
    steps: int,
    guidance: float | None,
    options: dict[str, Any],
) -> Iterator[Any]:
    """What to sample from, with the peer at work; `pipe` is as before afterwards.

    Args:
        guidance: of the runs to come, for peers that calibrate.
        options: of the peer.

    Raises:
        ValueError: the peer is not installed or does not support the model.
    """
    absence = peer_absence(name, pipe)
    if absence is not None:
        raise ValueError(f"{name}: {absence}")
    if name in CALIBRATED:
        options = options | {"guidance": guidance}
    with PEERS[name].attach(pipe, steps, **options) as patched:
        yield patched


@_peer("DeepCache==0.1.1", "DeepCache", "UNet2DConditionModel", "UNet2DModel")
@contextmanager
def deepcache(pipe: DiffusionPipeline, steps: int, interval: int) -> Iterator[Any]:
    """DeepCache (Ma et al., CVPR 2024), outermost branch, uniform interval."""
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    helper.enable()
    try:
        yield pipe
    finally:
        helper.disable()


@_peer("tomesd==0.1.3", "tomesd", "UNet2DConditionModel")
@contextmanager
def tomesd(pipe: DiffusionPipeline, steps: int, ratio: float) -> Iterator[Any]:
    """Token merging (Bolya and Hoffman 2023); at every resolution, as small U-Nets need."""
    import tomesd as package

    package.apply_patch(pipe, ratio=ratio, max_downsample=8)
    try:
        yield pipe
    finally:
        package.remove_patch(pipe)


@_peer("tgate==1.0.0", "tgate", "UNet2DConditionModel")
@contextmanager
def tgate(pipe: DiffusionPipeline, steps: int, gate_step: int, sp_interval: int) -> Iterator[Any]:
    """T-GATE (Liu et al. 2024): cross-attention frozen and guidance off after the gate."""
    from tgate import TgateSDLoader

    loaded = TgateSDLoader(copy.deepcopy(pipe), gate_step=gate_step, num_inference_steps=steps)
    yield functools.partial(
        loaded.tgate, gate_step=gate_step, sp_interval=sp_interval, fi_interval=1, warm_up=2
    )


@_peer("cache-dit==1.5.3", "cache_dit", "DiTTransformer2DModel", "SD3Transformer2DModel")
@contextmanager
def dbcache(pipe: DiffusionPipeline, steps: int, threshold: float, taylor: bool) -> Iterator[Any]:
    """cache-dit's DBCache, first block computed, with or without its TaylorSeer calibrator."""
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")  # read on import
    import cache_dit

    patched = copy.deepcopy(pipe)
    calibrator = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=1) if taylor else None
    cache_dit.enable_cache(
        patched,
        cache_config=cache_dit.DBCacheConfig(
            Fn_compute_blocks=1,
            Bn_compute_blocks=0,
            max_warmup_steps=2,
            residual_diff_threshold=threshold,
        ),
        calibrator_config=calibrator,
    )
    try:
        yield patched
    finally:
        cache_dit.disable_cache(patched)


@_peer("dit-smoothcache==0.1.1", "SmoothCache", "DiTTransformer2DModel")
@contextmanager
def smoothcache(pipe: DiffusionPipeline, steps: int, interval: int) -> Iterator[Any]:
    """SmoothCache (Liu et al. 2024) with an even schedule: its wheel has no calibration."""
    from SmoothCache import DiffuserCacheHelper

    patched = copy.deepcopy(pipe)
    schedule = {"attn1": [int(step % interval == 0) for step in range(steps)]}
    helper = DiffuserCacheHelper(patched.transformer, schedule=schedule)
    helper.enable()
    # It does not see where a run begins, and prints a line per block and step.
    clock = Clock(patched.scheduler, helper.reset_state, lambda *ended: None)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield patched
    finally:
        clock.detach()
        helper.disable()


@contextmanager
def _diffusers_hook(
    pipe: DiffusionPipeline, apply_hook: Callable[[nn.Module], None]
) -> Iterator[Any]:
    """A copy of `pipe` with one of diffusers' own caches on its transformer.

    DiTPipeline neither names a cache context nor resets stateful hooks, so both are done here.
    """
    patched = copy.deepcopy(pipe)
    transformer = patched.transformer
    apply_hook(transformer)

    def begin() -> None:
        HookRegistry.check_if_exists_or_initialize(transformer).reset_stateful_hooks()
        _set_cache_context(transformer, CacheContext("both halves"))

    clock = Clock(patched.scheduler, begin, lambda *ended: None)
    try:
        yield patched
    finally:
        clock.detach()


@_peer("diffusers", "diffusers", "DiTTransformer2DModel")
def firstblock(
    pipe: DiffusionPipeline, steps: int, threshold: float
) -> AbstractContextManager[Any]:
    """diffusers' FirstBlockCache, after ParaAttention."""
    from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache

    config = FirstBlockCacheConfig(threshold=threshold)
    return _diffusers_hook(pipe, lambda module: apply_first_block_cache(module, config))


@_peer("diffusers", "diffusers", "DiTTransformer2DModel", "SD3Transformer2DModel")
def taylorseer(pipe: DiffusionPipeline, steps: int, interval: int) -> AbstractContextManager[Any]:
    """diffusers' TaylorSeer (Liu et al., ICCV 2025), first order, on attention and MLP outputs."""
    import torch
    from diffusers.hooks import TaylorSeerCacheConfig, apply_taylorseer_cache

    config = TaylorSeerCacheConfig(
        cache_interval=interval,
        disable_cache_before_step=3,
        max_order=1,
        taylor_factors_dtype=torch.float32,
        # Its default names match nothing in a DiT, and not all that SD3 has.
        cache_identifiers=[
            r"transformer_blocks\.\d+\.attn1?",
            r"transformer_blocks\.\d+\.ff(_context)?",
        ],
    )
    return _diffusers_hook(pipe, lambda module: apply_taylorseer_cache(module, config))


@_peer("diffusers", "diffusers", "DiTTransformer2DModel", "SD3Transformer2DModel")
@contextmanager
def magcache(
    pipe: DiffusionPipeline, steps: int, threshold: float, guidance: float | None
) -> Iterator[Any]:
    """diffusers' MagCache (Ma et al. 2025), calibrated on one picture as its documentation says."""
    from diffusers.hooks import MagCacheConfig, apply_mag_cache

    def configured(**options: Any) -> Callable[[nn.Module], None]:
        config = MagCacheConfig(num_inference_steps=steps, **options)
        return lambda module: apply_mag_cache(module, config)

    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        _diffusers_hook(pipe, configured(calibrate=True)) as patched,
    ):
        sample(patched, ["0"], steps=steps, seed=CALIBRATION_SEED, guidance=guidance)
    numbers = re.search(r"\[([0-9][^\]]*)\]", printed.getvalue())
    if numbers is None:
        raise ValueError("MagCache printed no ratios in its calibration run")
    ratios = [float(number) for number in numbers[1].split(",")]
    with _diffusers_hook(pipe, configured(threshold=threshold, mag_ratios=ratios)) as patched:
        yield patched
