"""Conditions of a run: told as they are, and a policy tuned under others says so."""

import inspect
import warnings
from dataclasses import replace

import pytest
import torch
from test_origin import origin
from torch import nn

import frdiff
from conftest import call, ddim, loop, make_dit_pipe, make_pipe, make_unet
from frdiff.policy import Conditions, TablePolicy, loads
from frdiff.policy.conditions import conditions_of, scales_in

STEPS = 12


def table(**changes):
    return TablePolicy(STEPS, [(0,)] * STEPS, targets=(), origin=origin(**changes))


def drawn(policy, guidance=3.0, size=16, dtype=torch.float32):
    pipe = make_pipe().to(dtype)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with frdiff.apply(pipe, policy) as run:
            call(pipe, steps=STEPS, size=size, guidance_scale=guidance)
    texts = [str(one.message) for one in said if "not tuned for" in str(one.message)]
    return run.conditions, texts


def test_a_run_tells_its_conditions():
    conditions, said = drawn(frdiff.JumpPolicy(2), guidance=3.0)
    assert conditions.scales == {"guidance_scale": 3.0}
    assert conditions.sample == (4, 8, 8)
    assert (conditions.dtype, conditions.weights) == ("float32", "float32")
    assert said == []


@pytest.mark.parametrize(
    ("tuned", "run", "words"),
    [
        (2.0, 2.0, None),
        (2.0, 8.0, "guidance_scale is 8, not 2, 4 times as much"),
        ((2.0, 8.0), 5.0, None),
        ((2.0, 8.0), 2.0, None),
        ((2.0, 8.0), 10.0, "guidance_scale is 10, not 2 to 8, 1.2 times as much"),
        ((2.0, 8.0), 1.0, "guidance_scale is 1, not 2 to 8, 0.5 times as much"),
        (None, 8.0, None),
    ],
)
def test_another_guidance_than_the_tuned_one_is_warned_of(tuned, run, words):
    _, said = drawn(table(guidance=tuned), guidance=run)
    assert len(said) == (words is not None)
    assert words is None or (words in said[0] and "frdiff.tune" in said[0])


def test_another_size_or_type_is_warned_of():
    conditions, _ = drawn(frdiff.JumpPolicy(2))
    policy = loads(table(conditions=conditions).dumps())
    assert policy.origin.conditions == conditions
    assert drawn(policy)[1] == []
    (said,) = drawn(policy, size=32)[1]
    assert "samples are 4x16x16, not 4x8x8: 4 times the size" in said
    (said,) = drawn(policy, dtype=torch.float64)[1]
    assert "samples are float64, not float32" in said
    assert "weights are float64, not float32" in said


def test_quantised_weights_are_told_by_their_class():
    class Packed(nn.Parameter):
        pass

    net = make_unet()
    net.conv_out.weight = Packed(net.conv_out.weight.data)
    weights = conditions_of(net, torch.ones(1, 4, 8, 8), {}).weights
    assert weights == "float32 + float32 (Packed)"


def test_scales_are_those_of_the_call_that_is_made():
    def called(prompt, guidance_scale=7.5, true_cfg_scale=4, *, image_guidance_scale=None):
        other_guidance_scale = 3.0  # no argument
        return scales_in(inspect.currentframe()), other_guidance_scale

    assert called("")[0] == {"guidance_scale": 7.5, "true_cfg_scale": 4.0}
    assert called("", 2, 1.5, image_guidance_scale=1.5)[0] == {
        "guidance_scale": 2.0,
        "true_cfg_scale": 1.5,
        "image_guidance_scale": 1.5,
    }
    assert scales_in(None) == {}

    def around(*args, **others):
        return scales_in(inspect.currentframe())

    assert around("", guidance_scale=3, num_inference_steps=5) == {"guidance_scale": 3.0}


def test_other_scales_are_compared_too():
    scales = {"guidance_scale": 1.0, "true_cfg_scale": 4.0}
    own = Conditions(scales, (4, 8, 8), "float32", "float32")
    found = replace(own, scales=scales | {"true_cfg_scale": 6.0})
    assert own.unlike(found) == ["true_cfg_scale is 6, not 4"]


def test_a_loop_of_ones_own_tells_no_guidance_and_the_policy_says_its():
    unet, scheduler = make_unet(), ddim()
    policy = table(guidance=(2.0, 8.0))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with frdiff.apply(unet, policy, scheduler=scheduler) as run:
            loop(unet, scheduler, steps=STEPS)
    assert not [one for one in said if "not tuned for" in str(one.message)]
    assert run.conditions.scales == {}
    assert "guidance=(2.0, 8.0)" in repr(policy)


def test_what_tune_found_out_is_in_the_file():
    pipe = make_dit_pipe()
    policy = frdiff.tune(
        pipe, ["1", "2"], num_steps=4, speedup=2, guidance=1.5, samples=2, latents=True
    )
    assert policy.origin.guidance == 1.5
    assert policy.origin.conditions == Conditions(
        {"guidance_scale": 1.5}, (4, 8, 8), "float32", "float32"
    )


@pytest.mark.parametrize("guidance", [(8.0, 2.0), (1.0,), (1.0, 2.0, 3.0), "7", True, float("nan")])
def test_a_guidance_that_is_no_number_or_range_is_refused(guidance):
    with pytest.raises((TypeError, ValueError), match="guidance must"):
        origin(guidance=guidance)
