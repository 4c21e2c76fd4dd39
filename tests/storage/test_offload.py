"""Features in the memory of the host between steps: the same bits, and fewer of them here.

There is one memory in these tests; a run that offloads does what it would do with two.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import HeunDiscreteScheduler

import frdiff
from conftest import SCHEDULER, ddim, loop, make_unet
from frdiff import Storage, budget
from frdiff.bank import shelf
from frdiff.budget import bank_bytes
from frdiff.storage import to_host

POLICY = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all")
STORAGES = {
    "plain": Storage(),
    "half": Storage("half"),
    "changes": Storage("half", "int8"),
    "low rank": Storage("int8", "int8", 0.25),
}


@pytest.fixture
def two_memories(monkeypatch):
    """As if the model were on another device."""
    for module in (shelf, budget):
        monkeypatch.setattr(module, "on_host", lambda device: False)


def test_copies_lie_in_one_piece_of_memory_and_are_the_same():
    tensors = [torch.randn(3, 5), torch.randn(7).half(), torch.arange(4, dtype=torch.int8)]
    copies = to_host(tensors)
    assert all(map(torch.equal, copies, tensors))
    assert len({copy.untyped_storage().data_ptr() for copy in copies}) == 1
    assert to_host([]) == []


def drawn(policy, forecast=1, two_calls=False):
    unet, scheduler = make_unet(), ddim()
    policy = replace(policy, forecast=forecast)
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        latents = loop(unet, scheduler, two_calls=two_calls)
        again = loop(unet, scheduler, two_calls=two_calls)
        assert torch.equal(latents, again)
        costs = [cost for cost, _ in run.call_costs for _ in run.step_calls]
        return latents, run.stats, sum(bank_bytes(cost, policy, 12) for cost in costs)


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
@pytest.mark.parametrize("forecast", [0, 1, 2])
@pytest.mark.parametrize("two_calls", [False, True], ids=["one call", "two calls"])
def test_offloading_changes_no_bit(storage, forecast, two_calls, two_memories):
    expected, plain, _ = drawn(replace(POLICY, storage=storage), forecast, two_calls)
    offloading = replace(storage, offload=True)
    latents, stats, foretold = drawn(replace(POLICY, storage=offloading), forecast, two_calls)
    assert torch.equal(latents, expected)
    assert stats.bank_bytes_peak == foretold
    # Of one keyframe alone what comes back is in the only memory that there is.
    assert stats.bank_bytes_by_way.get("host", 0) > 0 or forecast == 0
    if storage == Storage():  # what is here is one keyframe of as many as there are
        assert stats.bank_bytes_peak * (forecast + 1) == plain.bank_bytes_peak


def test_a_solver_that_evaluates_twice_at_a_level_may_offload(two_memories):
    policy = frdiff.UniformPolicy(3, forecast=2, mixing=False, targets="all", coordinate="noise")
    made = []
    for offload in (False, True):
        storage = Storage("half", "int8", offload=offload)
        unet, scheduler = make_unet(), HeunDiscreteScheduler(**SCHEDULER)
        with frdiff.apply(unet, replace(policy, storage=storage), scheduler=scheduler):
            made.append(loop(unet, scheduler))
    assert torch.equal(*made)


def test_adaptive_keyframes_may_be_offloaded(two_memories):
    policy = frdiff.AdaptivePolicy(0.3, storage=Storage("half", "int8"))
    expected, _, _ = drawn(policy)
    latents, *_ = drawn(replace(policy, storage=replace(policy.storage, offload=True)))
    assert torch.equal(latents, expected)


def test_a_model_on_the_host_has_nothing_to_offload():
    policy = replace(POLICY, storage=Storage(offload=True))
    latents, stats, foretold = drawn(policy)
    expected, plain, _ = drawn(POLICY)
    assert torch.equal(latents, expected)
    assert stats.bank_bytes_peak == plain.bank_bytes_peak == foretold
    assert "host" not in stats.bank_bytes_by_way
