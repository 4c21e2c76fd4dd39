"""Do learnt weights and jumps amplify the noise of coarse numbers?

    python bench/noisy.py [--models emoji emoji-flow] [--pictures 16]

Draws the shipped policies, what `bench/complement.py` has learnt, and as many calls as they make
with fewer steps, with the model in float32, in bfloat16, with the denoiser alone computed in
bfloat16, and with the denoiser's weights rounded to 8 bits per output channel (a simulation of
weight-only quantisation, convolutions too). Prints median PSNR to the converged solution in
float32, to that of the same coarse model, and to the same setting in float32: how far noise moves
it.
"""

import argparse
import functools
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shipped import Shipped, options_of, track, tuned_setting
from torch import nn

import frdiff
from frdiff.compare import psnr
from frdiff.models import GUIDANCE, shipped_models, shipped_policies
from frdiff.network.denoisers import find_denoisers
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.plan import Action
from frdiff.policy import TablePolicy, loads
from frdiff.schedulers.named import is_flow
from frdiff.setting import Setting

SEED = 700_000
LEARNT = ("from fewer steps", "from jumps")
FOUND = Path("outputs/complement")
DIFFUSION = ("dpm++karras", "unipckarras", "unipc")
FLOW = ("flow-euler-karras", "flow-euler-beta", "flow-euler")
LEVELS = 127


def rounded(denoiser: nn.Module) -> None:
    """Round the weights of linear layers and convolutions to 8 bits per output channel."""
    for module in denoiser.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = module.weight.data
            scale = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True) / LEVELS
            weight.copy_((weight / scale.clamp(min=1e-12)).round() * scale)


def coarse(denoiser: nn.Module) -> None:
    """Let a denoiser compute in bfloat16 and return float32."""
    compute: Callable[..., Any] = denoiser.forward

    @functools.wraps(compute)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            result = compute(*args, **kwargs)
        return filled(form_of(result), [tensor.float() for tensor in tensors_in(result)])

    denoiser.forward = forward


def opened(name: str, kind: str, pictures: int) -> Shipped:
    """A shipped model whose numbers are of a kind."""
    shipped = Shipped(name, pictures, SEED)
    if kind == "bfloat16":
        vars(shipped)["pipe"] = frdiff.load_model(name, dtype=torch.bfloat16)
    for denoiser in find_denoisers(shipped.pipe).values():
        if kind == "8-bit weights":
            rounded(denoiser)
        elif kind == "denoiser in bfloat16":
            coarse(denoiser)
    return shipped


KINDS = ("float32", "denoiser in bfloat16", "bfloat16", "8-bit weights")


def settings_of(name: str, flow: bool) -> dict[str, Setting]:
    """The policies of a model, by name."""
    own = "flow-euler" if flow else "dpm++"
    found = {
        f"shipped, {known.rpartition('-')[2]}x": tuned_setting(policy, own)
        for known, policy in shipped_policies(name).items()
        if not known.startswith("ddim")
    }
    for path in sorted(FOUND.glob(f"{name}-{GUIDANCE[name]}-*.json")):
        for speedup, cell in json.loads(path.read_text()).items():
            for column in LEARNT:
                if entry := cell.get(column):
                    policy = loads(entry["policy"])
                    setting = Setting(entry["num_inference_steps"], policy, entry["solver"] or own)
                    found[f"learnt {column}, {speedup}x"] = setting
    return found


def calls_of(table: TablePolicy) -> int:
    """Network calls of a run, in full."""
    return table.plan(table.num_steps).count(Action.KEYFRAME)


def norm_of(table: TablePolicy) -> float:
    """The greatest root of the sum of squares of a step's score weights."""
    rows = table.score_weights or [(1.0,)]
    return max(float(np.linalg.norm(row)) for row in rows)


def lines_of(name: str, pictures: int) -> Iterator[str]:
    """The lines of a model."""
    plain = opened(name, KINDS[0], pictures)
    flow = is_flow(plain.pipe.scheduler)
    settings = settings_of(name, flow)
    norms = {said: norm_of(setting.policy) for said, setting in settings.items()}
    for calls in sorted({calls_of(setting.policy) for setting in settings.values()}):
        rivals = [Setting(calls, None, solver) for solver in (FLOW if flow else DIFFUSION)]
        settings[f"fewer steps, {calls}"] = max(rivals, key=plain.decibels)
    drawn = {said: plain.draw(setting) for said, setting in settings.items()}
    for kind in KINDS:
        model = plain if kind == KINDS[0] else opened(name, kind, pictures)
        own = model.truth
        for said, setting in settings.items():
            made = model.draw(setting)
            figures = [
                statistics.median(psnr(other, made)) for other in (plain.truth, own, drawn[said])
            ]
            moved = "-" if kind == KINDS[0] else f"{figures[2]:.1f}"
            norm = f"{norms[said]:.2f}" if said in norms else "1"
            solver = setting.scheduler if setting.policy is None else ""
            yield (
                f"| {name} | {kind} | {said} {solver} | {norm} | {figures[0]:.1f} "
                f"| {figures[1]:.1f} | {moved} |"
            )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=shipped_models())
    parser.add_argument("--pictures", type=int, default=16)
    options = options_of(parser)
    warnings.filterwarnings("ignore", message=".*tuned")
    print("| model | numbers | setting | norm | to converged | to its own | moved by noise |")
    print("|---" * 7 + "|")
    for name in track(options.models, "models"):
        for line in lines_of(name, options.pictures):
            print(line, flush=True)


if __name__ == "__main__":
    main()
