"""Policies made to fit in so many bytes."""

from dataclasses import replace

import pytest
import torch

import frdiff
from conftest import make_dit_pipe
from frdiff.budget import OverBudgetError, rungs
from frdiff.sampling import sample
from pipelines_zoo import zoo

UNIFORM = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all")
GROUPS = frdiff.TablePolicy(
    12,
    [[0, 1], [1], [], [0], *[[0, 1], []] * 4],
    groups=[["down*", "mid*"], ["up*"]],
    targets="all",
)
STEPS = 12


def make_unet_pipe():
    return zoo()["unconditional-ddim"]().pipe


def drawn(pipe, policy, max_bytes=None, prompts=("1",)):
    with frdiff.apply(pipe, policy, max_bytes=max_bytes) as run:
        sample(pipe, prompts, steps=STEPS)
        return run


def sizes(pipe, policy=UNIFORM):
    """Bytes of the policy as it is, and of every way of storing."""
    run = drawn(pipe, policy)
    costs = [cost for cost, _ in run.call_costs]
    return [size for _, size in rungs(policy, costs, STEPS)]


def fitted(pipe, policy, max_bytes, prompts=("1",)):
    return frdiff.fit_memory(pipe, policy, max_bytes, prompts, num_steps=STEPS)


@pytest.fixture(params=[make_unet_pipe, make_dit_pipe], ids=["unet", "dit"])
def pipe(request):
    return request.param()


def test_bytes_are_known_before_a_run(pipe):
    for policy in (UNIFORM, replace(UNIFORM, storage=frdiff.Storage("half", "int8"))):
        for prompts in (["1"], ["1", "2"]):
            needed = frdiff.bytes_needed(pipe, policy, prompts, num_steps=STEPS)
            assert drawn(pipe, policy, needed, prompts).stats.bank_bytes_peak == needed


def test_what_fits_is_returned_as_it_is(pipe):
    assert fitted(pipe, UNIFORM, sizes(pipe)[0]) is UNIFORM


def test_a_byte_less_changes_how_features_are_stored_and_nothing_else(pipe):
    as_it_is, *_ = sizes(pipe)
    found = fitted(pipe, UNIFORM, as_it_is - 1)
    assert found.storage is not None and replace(found, storage=None) == UNIFORM
    assert drawn(pipe, found, as_it_is - 1).stats.bank_bytes_peak < as_it_is
    assert fitted(pipe, UNIFORM, as_it_is - 1) == found


def test_budgets_count_the_pictures_drawn_together():
    pipe = make_unet_pipe()
    one = sizes(pipe)[0]
    found = fitted(pipe, UNIFORM, one, ["1", "2"])
    assert found.storage is not None
    run = drawn(pipe, found, one, ["1", "2"])
    assert one / 4 < run.stats.bank_bytes_peak <= one


@pytest.mark.parametrize("policy", [UNIFORM, GROUPS], ids=["uniform", "groups"])
def test_below_all_ways_of_storing_targets_are_computed(policy):
    pipe = make_unet_pipe()
    least = sizes(pipe, policy)[-1]
    found = fitted(pipe, policy, least * 3 // 4)
    name, *exceptions = found.targets
    assert name == "<all>" and exceptions and all(one.startswith("!") for one in exceptions)
    run = drawn(pipe, found, least * 3 // 4)
    assert run.stats.bank_bytes_peak <= least * 3 // 4
    assert drawn(pipe, policy).stats.macs < run.stats.macs < run.stats.macs_full


def test_what_cannot_fit_is_said_with_the_least_that_can():
    pipe = make_unet_pipe()
    with pytest.raises(ValueError, match=r"does not fit in 0\.00 MiB: at the least"):
        fitted(pipe, UNIFORM, 1)
    with pytest.raises(ValueError, match=r"at the least .*scores"):
        fitted(pipe, frdiff.JumpPolicy(2), 1)


def test_steps_must_be_known():
    with pytest.raises(ValueError, match="give num_steps"):
        frdiff.fit_memory(make_unet_pipe(), UNIFORM, 10**6, ["1"])


def test_a_pipeline_is_as_before(pipe):
    before = sample(pipe, ["1"], steps=4)
    fitted(pipe, UNIFORM, sizes(pipe)[1])
    assert (sample(pipe, ["1"], steps=4) == before).all()


@pytest.mark.slow
def test_tuning_within_bytes_gives_a_policy_that_holds_them():
    options = {"num_steps": 12, "speedup": 1.5, "samples": 2, "evaluations": 6}
    options["vary"] = ["reuse"]  # no jumps: features are stored

    def tuned(max_bytes=None):
        return frdiff.tune(make_unet_pipe(), ["1", "2", "3"], max_bytes=max_bytes, **options)

    free = tuned()
    peak = drawn(make_unet_pipe(), free).stats.bank_bytes_peak
    assert free.storage is None and free.reuses
    assert tuned(peak) == free
    found = tuned(peak // 2)
    assert found.storage is not None and found.computed == free.computed
    run = drawn(make_unet_pipe(), found, peak // 2)
    assert 0 < run.stats.bank_bytes_peak <= peak // 2
    assert found.origin.figures["held_out_db"] == pytest.approx(
        free.origin.figures["held_out_db"], abs=3
    )


def test_one_after_another_is_no_way_around_a_budget():
    pipe = make_unet_pipe()
    with pytest.raises(OverBudgetError):
        drawn(pipe, UNIFORM, sizes(pipe)[0] // 2)
    assert torch.is_tensor(next(pipe.unet.parameters()))
