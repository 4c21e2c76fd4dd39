"""Parity with the paper's released behaviour, by a loop written from the method alone.

Nothing of frdiff runs in `papers_loop`: the step is the loop variable, features sit in a dict.
"""

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel

import frdiff
from conftest import EMBED, ddim, make_unet

STEPS, GUIDANCE = 50, 3.0


def start():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    text = torch.randn(1, 5, EMBED, generator=generator)
    return x, torch.cat([torch.zeros_like(text), text])


@torch.no_grad()
def papers_loop(interval, bias, mixing):
    unet, scheduler = make_unet(), ddim()
    stored, mode = {}, {"reuse": False}

    def conv1(module, name):
        compute = module.forward

        def forward(x):
            if not mode["reuse"]:
                stored[name] = compute(x)
            return stored[name]

        module.forward = forward

    def transformer(module, name):
        compute = module.forward

        def forward(x, **kwargs):
            if not mode["reuse"]:
                y = compute(x, **kwargs)[0]
                stored[name] = y - x
                return (y,)
            return (x + stored[name],)

        module.forward = forward

    for name, module in unet.named_modules():
        if isinstance(module, ResnetBlock2D):
            conv1(module.conv1, name)
        if isinstance(module, Transformer2DModel):
            transformer(module, name)

    x, context = start()
    scheduler.set_timesteps(STEPS)
    for i, t in enumerate(scheduler.timesteps):
        keyframe = i % interval == 0
        weight = min(max((30 * (i / STEPS - bias) + 2) / 4, 0), 1) if mixing else 1
        mode["reuse"] = not keyframe
        if keyframe:
            score = last = unet(torch.cat([x, x]), t, context).sample
        elif weight == 0:
            score = last
        else:
            score = weight * unet(torch.cat([x, x]), t, context).sample + (1 - weight) * last
        uncond, cond = score.chunk(2)
        x = scheduler.step(uncond + GUIDANCE * (cond - uncond), t, x).prev_sample
    return x


@torch.no_grad()
def our_loop(policy):
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        x, context = start()
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            uncond, cond = unet(torch.cat([x, x]), t, context).sample.chunk(2)
            x = scheduler.step(uncond + GUIDANCE * (cond - uncond), t, x).prev_sample
    return x, run


@pytest.mark.parametrize("bias", [0.2, 0.3, 0.4, 0.5, None], ids=lambda bias: bias or "no-mixing")
@pytest.mark.parametrize("interval", [2, 3, 4, 5])
def test_same_latents_as_the_paper(interval, bias):
    mixing, bias = bias is not None, bias or 0.5
    theirs = papers_loop(interval, bias, mixing)
    ours, _ = our_loop(frdiff.UniformPolicy(interval, bias, mixing=mixing))
    assert (ours - theirs).norm() / theirs.norm() < 1e-5


def test_reuse_changes_the_latents():
    full, _ = our_loop(frdiff.UniformPolicy(2, targets="paper", mixing=False))
    copy, _ = our_loop(frdiff.UniformPolicy(5, targets="paper", mixing=False))
    assert (full - copy).norm() / full.norm() > 1e-3


def test_papers_counts_in_the_stats():
    _, run = our_loop(frdiff.UniformPolicy(interval=2, bias=0.5))
    stats = run.stats
    assert (stats.steps, stats.keyframes, stats.jumps, stats.reuse_steps) == (50, 25, 11, 14)
