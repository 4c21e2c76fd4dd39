"""Wrapped forwards: what is skipped, what comes back, what is left behind."""

import inspect

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn

import frdiff
from conftest import ddim, loop, make_unet


class Doubling(nn.Module):
    """Two blocks that double their input: 1 -> 2 -> 4, plus the fresh input on the way out."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Double(), Double()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, sample, timestep=None, return_dict=True):
        return (self.second(self.first(sample)) + sample,)


class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return 2 * x


class Take(nn.Module):
    def forward(self, pair):
        return pair[0]


def drive(model, policy, inputs):
    """Outputs of `model` for one input per step."""
    scheduler = ddim()
    with frdiff.apply(model, policy, scheduler=scheduler) as run:
        scheduler.set_timesteps(len(inputs))
        outputs = []
        for t, value in zip(scheduler.timesteps, inputs, strict=True):
            score = model(torch.full((1, 1), float(value)), t)[0]
            outputs.append(score.item())
            scheduler.step(score, t, torch.zeros(1, 1))
    return outputs, run


def uniform(interval, steps=12, **options):
    options = {"mixing": False, "targets": ["second"]} | options
    return frdiff.UniformPolicy(interval, **options)


def test_computed_is_five_times_the_input_and_reused_keeps_the_old_double():
    outputs, _ = drive(Doubling(), uniform(2), range(1, 13))
    for step, (value, output) in enumerate(zip(range(1, 13), outputs, strict=True)):
        last_keyframe = value if step % 2 == 0 else value - 1
        assert output == 4 * last_keyframe + value


def test_linear_forecast_is_exact_on_a_linear_feature():
    outputs, _ = drive(Doubling(), uniform(3, forecast=1), range(1, 13))
    assert outputs[4:] == [5.0 * value for value in range(5, 13)]


def test_target_runs_on_keyframes_only():
    model = Doubling()
    drive(model, uniform(4), range(12))
    assert (model.first.calls, model.second.calls) == (12, 3)


def test_jump_calls_nothing_and_repeats_the_score():
    model = Doubling()
    policy = frdiff.KeyframePolicy(12, [0, 6], [0] * 12, targets=["second"])
    outputs, run = drive(model, policy, range(1, 13))
    assert outputs == [5.0] * 6 + [35.0] * 6
    assert model.first.calls == 2
    assert (run.stats.keyframes, run.stats.jumps) == (2, 10)


def test_mixing_is_the_weighted_sum_of_scores():
    weights = [1, 0.25] * 6
    policy = frdiff.KeyframePolicy(12, range(0, 12, 2), weights, targets=["second"])
    outputs, _ = drive(Doubling(), policy, range(1, 13))
    assert outputs[1] == pytest.approx(0.25 * (4 * 1 + 2) + 0.75 * 5)


def test_scores_survive_changes_made_by_the_caller():
    model, scheduler = Doubling(), ddim()
    policy = frdiff.KeyframePolicy(12, [0], [0] * 12, targets=["second"])
    with frdiff.apply(model, policy, scheduler=scheduler):
        scheduler.set_timesteps(12)
        for t in scheduler.timesteps:
            score = model(torch.ones(1, 1), t)[0]
            assert score.item() == 5.0
            score.mul_(100)
            scheduler.step(score, t, torch.zeros(1, 1))


def test_a_module_that_runs_twice_in_a_pass_stores_both_outputs():
    model = Doubling()
    model.first = model.second
    outputs, _ = drive(model, uniform(2, targets=["first"]), range(1, 13))
    for step, (value, output) in enumerate(zip(range(1, 13), outputs, strict=True)):
        last_keyframe = value if step % 2 == 0 else value - 1
        assert output == 4 * last_keyframe + value
    assert model.first.calls == 2 * 6


def test_all_tensors_that_a_module_returns_are_stored():
    class Pair(Double):
        def forward(self, x):
            return [super().forward(x), (x, None)], 3

    class Untie(nn.Module):
        def forward(self, pair):
            (doubled, (single, nothing)), number = pair
            assert nothing is None and number == 3
            return doubled - single

    model = Doubling()
    model.first = nn.Sequential(Pair(), Untie())
    # x -> 2 x - x -> 2 x, and x again on the way out: stored are both parts of what `first` does.
    outputs, _ = drive(model, uniform(2, targets=["first.0"]), range(1, 13))
    for step, (value, output) in enumerate(zip(range(1, 13), outputs, strict=True)):
        last_keyframe = value if step % 2 == 0 else value - 1
        assert output == 2 * last_keyframe + value


@pytest.mark.parametrize("targets", ["paper", "residual", ["*.attn1", "*.ff"]])
def test_all_keyframes_are_bit_equal(targets):
    plain = loop(make_unet(), ddim())
    unet, scheduler = make_unet(), ddim()
    policy = frdiff.KeyframePolicy(12, range(12), targets=targets)
    with pytest.warns(UserWarning, match="100%"), frdiff.apply(unet, policy, scheduler=scheduler):
        assert torch.equal(loop(unet, scheduler), plain)


def everything(*owners):
    """All attributes of modules and scheduler that patching could leave behind."""
    return {
        (id(part), name): value
        for owner in owners
        for part in (owner.modules() if isinstance(owner, nn.Module) else [owner])
        for name, value in part.__dict__.items()
        if name not in ("timesteps", "num_inference_steps")
    }


def test_signatures_survive_and_nothing_is_left():
    unet, scheduler = make_unet(), ddim()
    before = everything(unet, scheduler)
    signatures = [inspect.signature(f) for f in (unet.forward, scheduler.step)]
    run = frdiff.apply(unet, frdiff.UniformPolicy(2), scheduler=scheduler)
    assert [inspect.signature(f) for f in (unet.forward, scheduler.step)] == signatures
    loop(unet, scheduler)
    run.remove()
    run.remove()
    after = everything(unet, scheduler)
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)


@pytest.mark.parametrize("step", range(12))
def test_an_exception_at_any_step_leaves_nothing(step):
    unet, scheduler = make_unet(), ddim()
    plain = loop(unet, scheduler)
    before = everything(unet, scheduler)
    with (
        pytest.raises(KeyboardInterrupt),
        frdiff.apply(unet, frdiff.UniformPolicy(3), scheduler=scheduler),
    ):
        scheduler.set_timesteps(12)
        for i, t in enumerate(scheduler.timesteps):
            score = unet(torch.ones(1, 4, 8, 8), t, torch.ones(1, 5, 16)).sample
            if i == step:
                raise KeyboardInterrupt
            scheduler.step(score, t, torch.ones(1, 4, 8, 8))
    assert before.keys() == everything(unet, scheduler).keys()
    assert torch.equal(loop(unet, scheduler), plain)


def test_forwards_set_on_the_instance_before_come_back():
    unet, scheduler = make_unet(), ddim()
    original = unet.forward
    unet.forward = lambda *args, **kwargs: original(*args, **kwargs)
    mine = unet.forward
    frdiff.apply(unet, frdiff.UniformPolicy(2), scheduler=scheduler).remove()
    assert unet.__dict__["forward"] is mine


def test_model_offloading_may_take_its_hooks_off_and_put_them_on_again():
    """As `enable_model_cpu_offload` does after every pipeline call, before and after `apply`."""
    expected = make_unet(), ddim()
    policy = uniform(3, targets="residual")
    with frdiff.apply(expected[0], policy, scheduler=expected[1]):
        latents = loop(*expected)
    for hooked_first in (True, False):
        unet, scheduler = make_unet(), ddim()
        if hooked_first:
            add_hook_to_module(unet, ModelHook())
        run = frdiff.apply(unet, policy, scheduler=scheduler)
        for _ in range(3):
            assert torch.equal(loop(unet, scheduler), latents)
            assert run.stats.keyframes == 4
            remove_hook_from_module(unet, recurse=True)
            add_hook_to_module(unet, ModelHook())
        run.remove()
        assert torch.equal(loop(unet, scheduler), loop(make_unet(), ddim()))
        assert unet._hf_hook is not None
        frdiff.apply(unet, policy, scheduler=scheduler).remove()


def test_hooks_put_on_over_a_policy_that_is_gone_do_not_hide_the_next():
    unet, scheduler = make_unet(), ddim()
    policy = uniform(3, targets="residual")
    first = frdiff.apply(unet, policy, scheduler=scheduler)
    expected = loop(unet, scheduler)
    add_hook_to_module(unet, ModelHook())
    first.remove()
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        for _ in range(3):
            assert torch.equal(loop(unet, scheduler), expected)
            assert run.stats.keyframes == 4
            remove_hook_from_module(unet, recurse=True)
            add_hook_to_module(unet, ModelHook())


def test_in_place_code_after_a_target_does_not_touch_what_is_stored():
    """FreeU scales the first channels of the mid block's output in place."""
    model, scheduler = Doubling(), ddim()
    take = model.second.register_forward_pre_hook(lambda module, args: args[0].mul_(10))
    with frdiff.apply(model, uniform(4, targets=["first"]), scheduler=scheduler):
        scheduler.set_timesteps(12)
        for t in scheduler.timesteps:
            score = model(torch.ones(1, 1), t)[0]
            assert score.item() == 2 * (10 * 2) + 1
            scheduler.step(score, t, torch.zeros(1, 1))
    take.remove()


def test_a_target_that_first_runs_on_a_reuse_step_is_computed():
    class Late(Doubling):
        def forward(self, sample, timestep=None, return_dict=True):
            x = self.first(sample)
            return ((self.second(x) if timestep < 900 else x) + sample,)

    outputs, _ = drive(Late(), uniform(3), range(1, 13))
    assert outputs[:3] == [2 * 1 + 1, 4 * 2 + 2, 4 * 3 + 3]
