"""Guidance weights: so much more of how the halves differ, as if the scale were another."""

import warnings
from dataclasses import replace

import pytest
import torch

import frdiff
from conftest import call, ddim, loop, make_dit_pipe, make_pipe, make_unet
from frdiff.network.halves import apart, guided
from frdiff.policy import RangePolicy, TablePolicy, loads
from frdiff.sampling import sample
from pipelines_zoo import zoo

STEPS = 12


def table(rows, **changes):
    return TablePolicy(STEPS, [(0,)] * STEPS, guidance_weights=rows, targets=(), **changes)


# With a condition is the second half in Stable Diffusion's pipelines, and the first in DiT's.
MORE = table([1.5] * STEPS)


def test_what_is_added_to_both_halves_is_added_to_what_guidance_makes_of_them():
    sample = torch.tensor([1.0, 2.0, 1.0, 2.0])[:, None]
    score = torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    assert apart(score, sample).ravel().tolist() == [3.0, 6.0]
    (found,) = guided((score,), (score,), sample, 0.5)
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
    (found,) = guided((score,), (score,), sample, 1.0)
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
    with frdiff.apply(pipe, table([-1.5] * STEPS)):
        assert drawn(3.0) == pytest.approx(wanted, abs=1e-4)


def test_the_own_score_is_guided_and_earlier_ones_weighed_as_they_were_computed():
    policy = table([0.0, *[-2.0, 0.5] * 5, 1.0], score_weights=[[1.0], *[[1.5, -0.5]] * 11])
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, policy, scheduler=scheduler):
        found = loop(unet, scheduler, STEPS)
    seen = []

    def by_hand(model_input, t, text):
        score = unet(model_input, t, text)
        one, other = score.sample.chunk(2)
        seen.insert(0, score.sample)
        more = policy.guidance_weights[len(seen) - 1] * (other - one)
        weighed = 1.5 * seen[0] - 0.5 * seen[1] if len(seen) > 1 else seen[0]
        return type(score)(sample=weighed + torch.cat([more, more]))

    torch.testing.assert_close(found, loop(by_hand, ddim(), STEPS), rtol=1e-4, atol=1e-5)


def test_guidance_in_two_calls_is_no_silent_loss():
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, MORE, scheduler=scheduler):
        with pytest.warns(UserWarning, match="no call had both"):
            found = loop(unet, scheduler, STEPS, two_calls=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop(unet, scheduler, STEPS)
    assert torch.equal(found, loop(unet, ddim(), STEPS, two_calls=True))


def test_it_survives_the_file_and_files_without_it_are_as_they_were():
    assert loads(MORE.dumps()) == MORE and MORE.learnt
    bare = replace(MORE, guidance_weights=None)
    assert "guidance_weights" not in bare.dumps() and not bare.learnt


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 5, "one row per step"),
        ([[1.0]] * STEPS, "a guidance weight must be"),
        ([float("nan")] * STEPS, "a guidance weight must be"),
    ],
)
def test_what_is_no_guidance_weight_is_refused(weights, words):
    with pytest.raises((TypeError, ValueError), match=words):
        table(weights)


@pytest.mark.parametrize("mixing", [0.0, 1.0], ids=["jump", "reuse"])
def test_only_keyframes_have_halves(mixing):
    rows, weights = [(0,), (), *[(0,)] * 10], [0.0, 0.5, *[0.0] * 10]
    mixings = [1.0, mixing, *[1.0] * 10]
    with pytest.raises(ValueError, match=r"step 1 is no keyframe, so its score has no halves"):
        TablePolicy(STEPS, rows, mixing_weights=mixings, guidance_weights=weights)


def test_those_of_a_range_follow_the_scale():
    policy = RangePolicy([1.0, 4.0], [table([0.0] * STEPS), MORE])
    assert policy.at(2.0).guidance_weights == (0.75,) * STEPS
    with pytest.raises(ValueError, match="alike"):
        RangePolicy([1.0, 4.0], [replace(MORE, guidance_weights=None), MORE])


def test_a_step_of_halves_by_hand():
    """One half is the network's own; the other differs from it as it did on the keyframe."""
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, frdiff.HalfPolicy(STEPS), scheduler=scheduler) as run:
        loop(unet, scheduler, STEPS)  # looks once whether halves can be told apart
        found = loop(unet, scheduler, STEPS)
        stats = run.stats
    kept = []

    def by_hand(model_input, t, text):
        score = unet(model_input, t, text)
        one, other = score.sample.chunk(2)
        kept.append(other - one)
        return type(score)(sample=torch.cat([other - kept[0], other]))

    torch.testing.assert_close(found, loop(by_hand, ddim(), STEPS), rtol=1e-4, atol=1e-5)
    assert (stats.keyframes, stats.halves) == (1, STEPS - 1)
    assert stats.macs_ratio == pytest.approx((1 + (STEPS - 1) / 2) / STEPS)


def test_of_two_calls_the_second_follows_the_first():
    """So both ways of guidance draw the same, and cost the same."""
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, frdiff.HalfPolicy(3, "first"), scheduler=scheduler) as run:
        loop(unet, scheduler, STEPS)
        together = loop(unet, scheduler, STEPS)
        apart_ = loop(unet, scheduler, STEPS, two_calls=True)
        assert run.stats.macs_ratio == pytest.approx(2 / 3)
    torch.testing.assert_close(together, apart_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["amused", "amused-inpaint", "stable-diffusion", "dit", "wan"])
def test_pipelines_halve_and_their_tokens_too(name):
    tiny = zoo()[name]()

    def drawn():
        return sample(tiny.pipe, (tiny.prompts or [""])[:1], steps=STEPS, inputs=tiny.inputs)

    plain = drawn()
    with frdiff.apply(tiny.pipe, frdiff.HalfPolicy(2)) as run:
        drawn()
        found = drawn()
        share = run.stats.macs_ratio
    assert share == pytest.approx(0.75)
    assert 0 < abs(found - plain).mean() < 0.1
    assert (drawn() == plain).all()


def test_without_guidance_all_is_computed():
    pipe = make_pipe()
    plain = call(pipe, steps=STEPS, batch=2, guidance_scale=1.0)
    with frdiff.apply(pipe, frdiff.HalfPolicy(3)) as run:
        assert torch.equal(call(pipe, steps=STEPS, batch=2, guidance_scale=1.0), plain)
        assert run.stats.macs_ratio == 1


def test_a_policy_of_halves_survives_its_file():
    policy = frdiff.HalfPolicy(2.5, "first", 1)
    assert loads(policy.dumps()) == policy
    assert [str(step.action) for step in policy.plan(5)] == [
        "keyframe", "half", "keyframe", "half", "half",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="half must be one of"):
        frdiff.HalfPolicy(2, "third")
    with pytest.raises(ValueError, match="interval"):
        frdiff.HalfPolicy(0.5)
