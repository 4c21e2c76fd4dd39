"""Copies and saved files of what carries a policy are plain."""

import copy
import io
import pickle

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module

import frdiff
from conftest import call, ddim, loop, make_pipe, make_unet

POLICY = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all")


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


COPIES = pytest.mark.parametrize("copied", [copy.deepcopy, saved, pickled])


@COPIES
@pytest.mark.parametrize("policy", [POLICY, frdiff.JumpPolicy(2), frdiff.UniformPolicy(2)])
def test_a_copy_of_a_network_is_plain_and_computes_with_its_own_weights(copied, policy):
    plain = loop(make_unet(), ddim())
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        drawn = loop(unet, scheduler)
        other = copied(unet)
        assert torch.equal(loop(other, ddim()), plain)
        for weight in other.parameters():
            weight.data.zero_()
        assert other(torch.ones(1, 4, 8, 8), 1, torch.ones(1, 5, 16)).sample.abs().max() == 0
        assert torch.equal(loop(unet, scheduler), drawn)
        assert run.stats.steps == 12
        with frdiff.apply(copied(unet), policy, scheduler=ddim()) as second:
            loop(second.patches[0].denoiser, second._state._clock.scheduler)
            assert second.stats.steps == 12
    assert torch.equal(loop(unet, ddim()), plain)
    assert torch.equal(loop(copied(other), ddim()), loop(other, ddim()))


@COPIES
def test_a_copy_of_a_part_of_a_network(copied):
    unet = make_unet()
    x, temb = torch.ones(1, 32, 4, 4), torch.ones(1, 64)
    plain = unet.mid_block.resnets[0](x, temb)
    with frdiff.apply(unet, POLICY, scheduler=ddim()):
        part = copied(unet.mid_block.resnets[0])
        assert torch.equal(part(x, temb), plain)
        for weight in part.parameters():
            weight.data.zero_()
        assert torch.equal(part(x, temb), x)


@COPIES
def test_a_copy_of_a_scheduler_steps_for_itself(copied):
    scheduler, plain = ddim(), ddim()
    plain.set_timesteps(12)
    with frdiff.apply(make_unet(), POLICY, scheduler=scheduler) as run:
        scheduler.set_timesteps(12)
        other = copied(scheduler)
        x = torch.ones(1, 4, 8, 8)
        for t, same in zip(plain.timesteps, other.timesteps, strict=True):
            expected = plain.step(x, t, x).prev_sample
            assert torch.equal(other.step(x, same, x).prev_sample, expected)
        assert run.stats.steps == 0
    assert torch.equal(copied(other).timesteps, plain.timesteps)


def test_a_copy_of_a_pipeline_is_plain():
    pipe = make_pipe()
    plain = call(pipe)
    with frdiff.apply(pipe, POLICY) as run:
        drawn = call(pipe)
        other = copy.deepcopy(pipe)
        assert torch.equal(call(other), plain)
        assert run.stats.keyframes == 4
        with frdiff.apply(other, POLICY):
            assert torch.equal(call(other), drawn)
        assert torch.equal(call(other), plain)
        assert torch.equal(call(pipe), drawn)
    assert torch.equal(call(pipe), plain)


def test_a_copy_of_a_network_with_another_librarys_hook():
    unet = make_unet()
    add_hook_to_module(unet, ModelHook())
    with frdiff.apply(unet, POLICY, scheduler=ddim()):
        other = copy.deepcopy(unet)
    for weight in other.parameters():
        weight.data.zero_()
    assert other(torch.ones(1, 4, 8, 8), 1, torch.ones(1, 5, 16)).sample.abs().max() == 0
