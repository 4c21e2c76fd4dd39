"""Guidance weights: so much more of how the halves differ, as if the scale were another."""

from dataclasses import replace

import pytest
import torch

import frdiff
from conftest import call, ddim, loop, make_dit_pipe, make_pipe, make_unet
from frdiff.halves import apart, guided
from frdiff.policy import RangePolicy, TablePolicy, loads

STEPS = 12


def table(rows, **changes):
    return TablePolicy(STEPS, [(0,)] * STEPS, guidance_weights=rows, targets=(), **changes)


# With a condition is the second half in Stable Diffusion's pipelines.
MORE = table([[-1.5]] * STEPS)
# Even steps as they are, and odd ones make up for them from their last score.
BOTH = table([[0.0], *[[-2.0, 0.5], [0.0]] * 5, [-1.0]])


def test_what_is_added_to_both_halves_is_added_to_what_guidance_makes_of_them():
    sample = torch.tensor([1.0, 2.0, 1.0, 2.0])[:, None]
    score = torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    assert apart(score, sample).ravel().tolist() == [-3.0, -6.0]
    (found,) = guided((score,), (score * -0.5,), sample)
    assert found.ravel().tolist() == [2.5, 5.0, 5.5, 11.0]

    def made(halves, scale):
        one, other = halves.chunk(2)
        return one + scale * (other - one)

    for scale in (1.0, 7.5):
        assert torch.allclose(made(found, scale), made(score, scale + 0.5))


@pytest.mark.parametrize(
    "sample",
    [torch.arange(4.0)[:, None], torch.ones(2, 1), torch.tensor(1.0), None],
    ids=["of other samples", "of fewer", "of none", "unknown"],
)
def test_nothing_is_added_where_there_are_no_halves(sample):
    score = torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    (found,) = guided((score,), (score,), sample)
    assert torch.equal(found, score)
    assert apart(torch.ones(3, 1), torch.ones(3, 1)) is None


def test_a_policy_may_guide_as_another_scale_does():
    pipe = make_pipe()
    wanted = call(pipe, steps=STEPS, batch=2, guidance_scale=4.5)
    with frdiff.apply(pipe, MORE):
        found = call(pipe, steps=STEPS, batch=2, guidance_scale=3.0)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        # Without guidance there are no halves, whatever two samples of a batch are.
        plain = call(pipe, steps=STEPS, batch=2, guidance_scale=1.0)
    assert torch.equal(plain, call(pipe, steps=STEPS, batch=2, guidance_scale=1.0))


def test_so_it_may_where_the_condition_comes_first():
    def drawn(scale):
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": STEPS, "output_type": "np"}
        return pipe([1, 2], guidance_scale=scale, generator=generator, **options).images

    pipe = make_dit_pipe()
    wanted = drawn(4.5)
    with frdiff.apply(pipe, table([[1.5]] * STEPS)):
        assert drawn(3.0) == pytest.approx(wanted, abs=1e-4)


def test_earlier_scores_are_weighed_as_a_loop_by_hand_does():
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, BOTH, scheduler=scheduler):
        found = loop(unet, scheduler, STEPS)
    seen = []

    def by_hand(model_input, t, text):
        score = unet(model_input, t, text)
        one, other = score.sample.chunk(2)
        seen.insert(0, one - other)
        rows = BOTH.guidance_weights[len(seen) - 1]
        more = sum(weight * part for weight, part in zip(rows, seen, strict=False))
        score.sample = score.sample + torch.cat([more, more])
        return score

    torch.testing.assert_close(found, loop(by_hand, ddim(), STEPS), rtol=1e-4, atol=1e-5)


def test_a_jump_weighs_those_of_its_keyframes():
    jumps = TablePolicy(STEPS, [(0,), ()] * 6, mixing_weights=[1, 0] * 6, targets=())
    more = replace(jumps, guidance_weights=[[0.0], [-1.0]] * 6)
    unet, scheduler = make_unet(), ddim()
    calls = []

    def by_hand(model_input, t, text):
        if not len(calls) % 2:
            calls.append(unet(model_input, t, text))
            return calls[-1]
        calls.append(None)
        score = calls[-2]
        one, other = score.sample.chunk(2)
        return type(score)(sample=score.sample - torch.cat([one - other] * 2))

    wanted = loop(by_hand, ddim(), STEPS)
    with frdiff.apply(unet, more, scheduler=scheduler) as run:
        torch.testing.assert_close(loop(unet, scheduler, STEPS), wanted, rtol=1e-4, atol=1e-5)
    assert (run.stats.keyframes, run.stats.jumps) == (6, 6)


def test_it_survives_the_file_and_files_without_it_are_as_they_were():
    assert loads(BOTH.dumps()) == BOTH
    assert BOTH.learnt and BOTH.score_depth == 2
    bare = replace(BOTH, guidance_weights=None)
    assert "guidance_weights" not in bare.dumps() and not bare.learnt


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0]] * 5, "one row per step"),
        ([1.0] * STEPS, "guidance weights of a step must be"),
        ([[float("nan")]] * STEPS, "a guidance weight must be"),
        ([[0.0] * 5] * STEPS, "at most 4, got 5"),
        ([[1.0, 1.0]] * STEPS, "step 0 weighs 2 scores, the keyframes up to it have 1"),
    ],
)
def test_what_is_no_guidance_weight_is_refused(rows, words):
    with pytest.raises((TypeError, ValueError), match=words):
        table(rows)


def test_a_reuse_step_can_weigh_none():
    rows = [[0.0], [0.5], *[[0.0]] * 10]
    with pytest.raises(ValueError, match=r"step 1 reuses features, so it can weigh no guidance"):
        TablePolicy(STEPS, [(0,), (), *[(0,)] * 10], guidance_weights=rows)


def test_those_of_a_range_follow_the_scale():
    policy = RangePolicy([1.0, 4.0], [table([[0.0]] * STEPS), MORE])
    assert policy.at(2.0).guidance_weights == tuple([(-0.75,)] * STEPS)
    with pytest.raises(ValueError, match="alike"):
        RangePolicy([1.0, 4.0], [replace(MORE, guidance_weights=None), MORE])
