"""Bytes of a bank: foretold before a run, the same in it, and refused where they are too many."""

from dataclasses import replace

import pytest
import torch

import frdiff
from conftest import call, ddim, loop, make_pipe, make_unet
from frdiff import Storage
from frdiff.budget import LADDER, OverBudgetError, bank_bytes, changed, rungs

UNIFORM = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all")
POLICIES = {
    "copies": replace(UNIFORM, forecast=0),
    "linear": UNIFORM,
    "quadratic": replace(UNIFORM, forecast=2),
    "mixing": frdiff.UniformPolicy(2, forecast=1, targets="residual"),
    "paper": frdiff.UniformPolicy(4),
    "two keyframes": frdiff.KeyframePolicy(12, [0, 6], forecast=2, targets="all"),
    "jumps": frdiff.JumpPolicy(2, forecast=2),
    "checked jumps": frdiff.JumpPolicy(2, checked=True),
    "groups": frdiff.TablePolicy(
        12,
        [[0, 1], *[[1], [0], [], [0, 1]] * 2, [], [1], []],
        groups=[["down*", "mid*"], ["*"]],
        forecast=1,
    ),
}
STORAGES = {"plain": None, **{str(storage): storage for storage in LADDER}}


def stored(policy, storage):
    return policy if isinstance(policy, frdiff.JumpPolicy) else replace(policy, storage=storage)


def foretold(run, policy, num_steps=12):
    """By the cost of every call of a step."""
    calls = len(run.step_calls)
    costs = [cost for cost, _ in run.call_costs for _ in range(calls)]
    return sum(bank_bytes(cost, policy, num_steps) for cost in costs)


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("two_calls", [False, True], ids=["one call", "two calls"])
def test_a_run_holds_what_was_foretold(policy, storage, two_calls):
    unet, scheduler = make_unet(), ddim()
    policy = stored(policy, storage)
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        latents = loop(unet, scheduler, two_calls=two_calls)
        assert run.stats.bank_bytes_peak == foretold(run, policy)
        ways = run.stats.bank_bytes_by_way
    assert latents.isfinite().all()
    assert sum(ways.values()) == run.stats.bank_bytes_peak
    assert {"plain"} >= {*ways} - {"scores"} if storage is None else "plain" not in ways


def test_adaptive_keyframes_hold_at_most_what_was_foretold():
    unet, scheduler = make_unet(), ddim()
    for storage in STORAGES.values():
        policy = frdiff.AdaptivePolicy(0.05, storage=storage)
        with frdiff.apply(unet, policy, scheduler=scheduler) as run:
            loop(unet, scheduler)
            assert 0 < run.stats.bank_bytes_peak <= foretold(run, policy)


@pytest.mark.parametrize("two_calls", [False, True], ids=["one call", "two calls"])
def test_a_budget_is_held_to_the_byte(two_calls, monkeypatch):
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, UNIFORM, scheduler=scheduler) as run:
        expected = loop(unet, scheduler, two_calls=two_calls)
        peak = run.stats.bank_bytes_peak
    with frdiff.apply(unet, UNIFORM, scheduler=scheduler, max_bytes=peak):
        assert torch.equal(loop(unet, scheduler, two_calls=two_calls), expected)
    with frdiff.apply(unet, UNIFORM, scheduler=scheduler, max_bytes=peak - 1) as run:
        made = []
        unet.register_forward_hook(lambda *_: made.append(1))
        with pytest.raises(OverBudgetError, match=r"What fits: .*MiB half;.*fit_memory"):
            loop(unet, scheduler, two_calls=two_calls)
        # The second call of a step shows only once it is made.
        assert len(made) == two_calls
        assert run.stats.steps == 0
    assert torch.equal(loop(unet, ddim()), loop(make_unet(), ddim()))


def test_a_refused_pipeline_draws_as_before_and_after(pipe):
    plain = call(pipe)
    with frdiff.apply(pipe, UNIFORM, max_bytes=1) as run:
        for _ in range(2):
            with pytest.raises(OverBudgetError, match=r"max_bytes allows 0\.00 MiB"):
                call(pipe)
        assert run.stats.bank_bytes == 0
    assert torch.equal(call(pipe), plain)
    with frdiff.apply(pipe, UNIFORM):
        after = call(pipe)
    other = make_pipe()
    with frdiff.apply(other, UNIFORM):
        assert torch.equal(call(other), after)


@pytest.mark.parametrize("value", [0, -5, 1.5, True, "200MiB"])
def test_a_budget_is_a_whole_number_of_bytes(value, pipe):
    with pytest.raises((TypeError, ValueError), match="max_bytes"):
        frdiff.apply(pipe, UNIFORM, max_bytes=value)


def test_rungs_take_fewer_and_fewer_bytes():
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, UNIFORM, scheduler=scheduler) as run:
        loop(unet, scheduler)
        costs = [cost for cost, _ in run.call_costs]
    found = rungs(UNIFORM, costs)
    sizes = [size for _, size in found]
    assert [policy.storage for policy, _ in found] == [None, *LADDER]
    assert sizes == sorted({*sizes}, reverse=True)


def test_half_gains_nothing_on_a_model_in_16_bits():
    unet, scheduler = make_unet().bfloat16(), ddim()
    with frdiff.apply(unet, UNIFORM, scheduler=scheduler) as run, torch.no_grad():
        scheduler.set_timesteps(12)
        x = torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16)
        unet(x, 1, torch.zeros(1, 3, 16, dtype=torch.bfloat16))
        scheduler.step(x, scheduler.timesteps[0], x)
        storages = [policy.storage for policy, _ in rungs(UNIFORM, [run.call_costs[0][0]])]
    assert storages[:2] == [None, Storage("half", "int8")]


def test_a_range_is_stored_in_all_its_tables():
    table = frdiff.TablePolicy(2, [[0], []], score_weights=[[1.0], [1.0]])
    found = changed(frdiff.RangePolicy([1, 2], [table, table]), storage=Storage("half"))
    assert found.storage == Storage("half") == found.at(1.5).storage
