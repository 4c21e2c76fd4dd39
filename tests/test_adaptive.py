"""Keyframes decided while sampling."""

import pytest
import torch

import frdiff
from conftest import call, ddim, loop, make_pipe, make_unet
from frdiff.plan import Action
from test_patch import Doubling, drive


def adaptive(threshold, **options):
    options = {"targets": ["first", "second"], "forecast": 0} | options
    return frdiff.AdaptivePolicy(threshold, **options)


def test_a_jump_of_the_probe_makes_a_keyframe_and_stillness_none():
    model = Doubling()
    outputs, run = drive(model, adaptive(0.5, longest=12), [1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3])
    # The input triples at step 4: the change is 2.
    assert run.plan.keyframes == (0, 4)
    assert outputs == [5.0] * 4 + [15.0] * 8
    assert (model.first.calls, model.second.calls) == (12, 2)


def test_changes_add_up_from_keyframe_to_keyframe():
    # 1.2 times per step: 0.2 each, so every third step is beyond 0.5.
    inputs = [1.2**step for step in range(12)]
    _, run = drive(Doubling(), adaptive(0.5, longest=12), inputs)
    assert run.plan.keyframes == (0, 3, 6, 9)
    assert run.stats.keyframes == 4
    assert run.stats.reuse_steps == 8


def test_floor_and_ceiling():
    still, moving = [1.0] * 12, [2.0**step for step in range(12)]
    _, run = drive(Doubling(), adaptive(0.5, longest=3), still)
    assert run.plan.keyframes == (0, 4, 8)
    with pytest.warns(UserWarning, match="the run diverges"):  # inputs double, none is computed
        _, run = drive(Doubling(), adaptive(0.5, most=0.25), moving)
    assert run.plan.keyframes == (0, 1, 2)


@pytest.mark.parametrize("two_calls", [False, True])
def test_threshold_0_is_the_full_run_and_a_large_one_the_floor(unet, scheduler, two_calls):
    full = loop(unet, scheduler, two_calls=two_calls)
    with frdiff.apply(unet, frdiff.AdaptivePolicy(0.0), scheduler=scheduler) as run:
        assert torch.equal(loop(unet, scheduler, two_calls=two_calls), full)
    assert run.stats.keyframes == 12
    uniform = frdiff.UniformPolicy(6, mixing=False, forecast=1, targets="all")
    with frdiff.apply(unet, frdiff.AdaptivePolicy(1e6), scheduler=scheduler) as run:
        loop(unet, scheduler, two_calls=two_calls)
        assert run.plan.keyframes == uniform.plan(12).keyframes
    assert run.stats.macs < run.stats.macs_full


def test_the_contexts_of_a_step_decide_alike(unet, scheduler):
    with frdiff.apply(unet, frdiff.AdaptivePolicy(0.3, longest=12), scheduler=scheduler) as run:
        loop(unet, scheduler, two_calls=True)
        calls = sum(calls for _, calls in run.call_costs)
        assert calls == 24
        keyframes = run.stats.keyframes
        assert 1 < keyframes < 12
        # Whole steps compute or reuse: the same keyframes for both calls.
        assert run.stats.steps == 12


def test_a_second_call_decides_as_the_first():
    pipe = make_pipe()
    with frdiff.apply(pipe, frdiff.AdaptivePolicy(0.2, coordinate="noise")) as run:
        first = call(pipe)
        plan = run.plan
        assert torch.equal(call(pipe), first)
        assert run.plan == plan
        assert run.stats.bank_bytes == 0


@pytest.mark.slow
def test_the_graph_breaks_where_it_decides():
    unet, scheduler = make_unet(), ddim()
    expected = []
    with frdiff.apply(unet, frdiff.AdaptivePolicy(0.2), scheduler=scheduler):
        expected.append(loop(unet, scheduler, 10))
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with (
        frdiff.apply(compiled, frdiff.AdaptivePolicy(0.2), scheduler=scheduler),
        pytest.raises(torch._dynamo.exc.Unsupported),
    ):
        loop(compiled, scheduler, 10)
    torch.compiler.reset()
    compiled = torch.compile(unet, backend="eager")
    with frdiff.apply(compiled, frdiff.AdaptivePolicy(0.2), scheduler=scheduler):
        assert torch.equal(loop(compiled, scheduler, 10), expected[0])


def test_it_is_saved_and_read(tmp_path):
    policy = frdiff.AdaptivePolicy(0.2, longest=3, most=0.5)
    policy.save(tmp_path / "policy.json")
    assert frdiff.load_policy(tmp_path / "policy.json") == policy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1}, "threshold must be from 0"),
        ({"threshold": 1, "longest": 0}, "longest must be from 1"),
        ({"threshold": 1, "most": 0}, "most must be from"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        frdiff.AdaptivePolicy(**options)


def test_one_target_has_nothing_to_decide_about():
    with pytest.raises(ValueError, match="no target of this model is in group 1"):
        drive(Doubling(), frdiff.AdaptivePolicy(0.1, targets=["first"]), range(12))


def test_open_steps_are_told_from_settled_ones():
    policy = frdiff.AdaptivePolicy(0.2, longest=2)
    plan = policy.plan(6)
    assert policy.revised(plan, 1).threshold == 0.2
    assert policy.revised(plan, 3).action is Action.KEYFRAME
