"""A policy for a range of guidance: at its ends the tables given, and between what lies between."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from test_origin import origin

import frdiff
from conftest import call, ddim, loop, make_pipe, make_unet
from frdiff.engines import engine_of, in_order
from frdiff.policy import RangePolicy, TablePolicy, loads
from frdiff.search.subject import Batch, PipelineSubject, drawing, work_on
from frdiff.setting import Setting

STEPS = 6


def table(weight, sample=0.0, level=0.0, **changes):
    rows = [(0,), (0,), (), (0,), (), (0,)]
    return TablePolicy(
        STEPS,
        rows,
        mixing_weights=[float(bool(row)) for row in rows],
        score_weights=[[1.0], [weight, 1 - weight], *[[weight, 1 - weight]] * 4],
        sample_weights=[sample] * STEPS,
        targets=(),
        **changes,
    )


def ranged(**changes):
    return RangePolicy([2.0, 8.0], [table(1.0, 0.0), table(1.4, 0.02)], **changes)


def test_its_ends_are_the_tables_given_and_beyond_them_too():
    policy = ranged()
    for guidance, end in ((2.0, policy.tables[0]), (8.0, policy.tables[1])):
        assert policy.at(guidance) == end
    assert policy.at(1.0) == policy.tables[0]
    assert policy.at(20.0) == policy.tables[1]


def test_between_them_numbers_follow_the_logarithm_of_the_scale():
    found = ranged().at(4.0)  # half of the way from 2 to 8
    assert found.score_weights[1] == pytest.approx((1.2, -0.2))
    assert found.sample_weights[0] == pytest.approx(0.01)
    assert found.computed == ranged().tables[0].computed


def test_three_tables_make_a_parabola():
    weights = {2.0: 1.0, 4.0: 1.1, 8.0: 1.4}
    policy = RangePolicy([*weights], [table(weight) for weight in weights.values()])
    # Through (0, 1), (1, 1.1) and (2, 1.4) of the binary logarithm of half the scale: 1 + x^2 / 10.
    at = math.log2(3.0 / 2.0)
    assert policy.at(3.0).score_weights[3][0] == pytest.approx(1 + at**2 / 10)


def test_it_survives_the_file():
    policy = ranged(origin=origin(steps=STEPS, guidance=(2.0, 8.0)))
    assert loads(policy.dumps()) == policy
    assert loads(policy.dumps()).at(3.0).origin == policy.origin


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guidances": [8.0, 2.0]}, "rising"),
        ({"guidances": [2.0]}, "rising"),
        ({"guidances": [0.0, 2.0]}, "guidance must be"),
        ({"tables": [table(1.0)]}, "must be 2 tables"),
        ({"tables": [table(1.0), replace(table(1.0), sample_weights=None)]}, "alike"),
        ({"tables": [table(1.0), replace(table(1.0), forecast=0)]}, "alike"),
        ({"tables": [table(1.0), "table"]}, "must be an object"),
    ],
)
def test_what_is_no_range_is_refused(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        RangePolicy(**({"guidances": [2.0, 8.0], "tables": [table(1.0), table(1.4)]} | changes))


def drawn(policy, guidance):
    pipe = make_pipe()
    with frdiff.apply(pipe, policy) as run:
        return call(pipe, steps=STEPS, guidance_scale=guidance), run


@pytest.mark.parametrize("guidance", [2.0, 3.0, 8.0])
def test_a_pipeline_runs_the_table_for_the_guidance_of_its_call(guidance):
    policy = ranged()
    found, _ = drawn(policy, guidance)
    torch.testing.assert_close(found, drawn(policy.at(guidance), guidance)[0], rtol=0, atol=0)


def test_calls_with_other_guidance_take_turns_under_one_policy():
    policy, pipe = ranged(), make_pipe()
    with frdiff.apply(pipe, policy):
        for guidance in (2.0, 8.0, 2.0):
            found = call(pipe, steps=STEPS, guidance_scale=guidance)
            expected = drawn(policy.at(guidance), guidance)[0]
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_within_the_range_nothing_is_warned_of_and_beyond_it_is():
    policy = ranged(origin=origin(steps=STEPS, guidance=(2.0, 8.0)))
    for guidance, warns in ((2.0, False), (5.0, False), (9.0, True)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            drawn(policy, guidance)
        assert any("guidance_scale is 9, not 2 to 8" in str(one.message) for one in said) == warns


def test_a_loop_of_ones_own_is_told_to_choose():
    unet, scheduler = make_unet(), ddim()
    with (
        frdiff.apply(unet, ranged(), scheduler=scheduler),
        pytest.raises(ValueError, match=r"policy\.at\(guidance\)"),
    ):
        loop(unet, scheduler, steps=STEPS)
    with frdiff.apply(unet, ranged().at(3.0), scheduler=scheduler) as run:
        loop(unet, scheduler, steps=STEPS)
    assert run.stats.steps == STEPS


def test_tune_finds_one_and_every_batch_is_drawn_at_its_guidance():
    pipe = make_pipe()
    embeds = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))
    inputs = {
        "prompt_embeds": embeds,
        "negative_prompt_embeds": torch.zeros_like(embeds),
        "height": 16,
        "width": 16,
    }
    frdiff.set_scheduler(pipe, "unipckarras")
    options = {"num_steps": 4, "speedup": 2, "inputs": inputs, "samples": 4, "latents": True}
    policy = frdiff.tune(pipe, guidance=(2.0, 8.0), **options)
    assert policy.origin.guidance == (2.0, 8.0)
    assert policy.origin.conditions.sample == (4, 8, 8)
    again = frdiff.tune(pipe, guidance=(2.0, 8.0), **options)
    assert again.dumps() == policy.dumps()
    subject = PipelineSubject(pipe, 2.0, True, inputs)
    setting = Setting(4, TablePolicy(4, [(0,)] * 4, targets=()))
    with engine_of(work_on(subject)) as engine:
        jobs = [drawing(setting, Batch(0, ("",))), drawing(setting, Batch(0, ("",), 8.0))]
        plain, own = in_order(engine(jobs))
    with engine_of(work_on(replace(subject, guidance=8.0))) as engine:
        ((_, other),) = engine([drawing(setting, Batch(0, ("",)))])
    assert (own.latents == other.latents).all()
    assert (own.latents != plain.latents).any()


@pytest.mark.parametrize("guidance", [(8.0, 2.0), (2.0,), (0.0, 2.0), (2.0, "8")])
def test_what_is_no_range_is_not_tuned_for(guidance):
    with pytest.raises((TypeError, ValueError), match="guidance"):
        frdiff.tune(make_pipe(), ["a"], num_steps=4, speedup=2, guidance=guidance)
