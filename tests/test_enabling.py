"""A policy that stays on a pipeline until it is told otherwise."""

import pytest
from diffusers import EulerDiscreteScheduler

import frdiff
from conftest import call, make_pipe
from frdiff.run.patch import patch_of
from frdiff.sampling import sample

POLICY = frdiff.UniformPolicy(2, mixing=False)


@pytest.fixture
def digits():
    return frdiff.load_model("digits")


def shown(pipe, steps):
    return sample(pipe, ["any"], steps=steps)


def test_a_pipeline_is_as_it_was_once_a_policy_is_disabled():
    pipe = make_pipe()
    plain = call(pipe)
    run = frdiff.enable(pipe, POLICY)
    assert (call(pipe) != plain).any()
    assert run.stats.keyframes == 6
    frdiff.disable(pipe)
    assert (call(pipe) == plain).all()
    frdiff.disable(pipe)  # harmless
    assert patch_of(pipe.unet) is None


def test_enabling_what_is_on_changes_nothing_and_another_takes_its_place():
    pipe = make_pipe()
    run = frdiff.enable(pipe, POLICY)
    assert frdiff.enable(pipe, frdiff.UniformPolicy(2, mixing=False)) is run
    other = frdiff.enable(pipe, frdiff.UniformPolicy(3, mixing=False))
    assert other is not run
    call(pipe)
    assert other.stats.keyframes == 4
    frdiff.disable(pipe)


def test_it_draws_what_apply_does(tmp_path):
    pipe = make_pipe()
    POLICY.save(tmp_path / "policy.json")
    with frdiff.apply(pipe, POLICY):
        wanted = call(pipe)
    frdiff.enable(pipe, tmp_path / "policy.json")
    assert (call(pipe) == wanted).all()
    frdiff.disable(pipe)


def test_a_profile_sets_its_solver_and_gives_the_own_one_back(digits):
    own = digits.scheduler
    for _ in range(2):
        run = frdiff.enable(digits, "high")
        assert run.policy == frdiff.load_policy("digits/high")
        assert digits.scheduler is not own
    frdiff.enable(digits, "lossless")  # one in the place of another
    frdiff.disable(digits)
    assert digits.scheduler is own


def test_a_handle_of_apply_can_be_disabled_and_one_of_enable_removed(digits):
    own = digits.scheduler
    frdiff.apply(digits, POLICY)
    frdiff.disable(digits)
    assert patch_of(digits.unet) is None
    with frdiff.enable(digits, "fast"):
        pass
    assert patch_of(digits.unet) is None
    assert digits.scheduler is own


def test_a_scheduler_that_is_swapped_is_followed_and_stays():
    pipe = make_pipe()
    run = frdiff.enable(pipe, POLICY)
    call(pipe)
    pipe.scheduler = mine = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    call(pipe, 14)
    assert run.stats.keyframes == 7
    frdiff.disable(pipe)
    assert pipe.scheduler is mine


def test_a_scheduler_that_a_tuned_policy_does_not_fit_is_refused_and_enabling_again_mends_it(
    digits,
):
    run = frdiff.enable(digits, "high")
    steps = run.policy.origin.num_inference_steps
    wanted = shown(digits, steps)
    digits.scheduler = mine = EulerDiscreteScheduler.from_config(digits.scheduler.config)
    with pytest.raises(ValueError, match="set_scheduler"):
        shown(digits, steps)
    frdiff.disable(digits)
    assert digits.scheduler is mine
    frdiff.enable(digits, "high")
    assert (shown(digits, steps) == wanted).all()
    frdiff.disable(digits)
    assert digits.scheduler is mine


def test_what_cannot_be_enabled_leaves_what_is_on():
    pipe = make_pipe()
    run = frdiff.enable(pipe, POLICY)
    with pytest.raises(ValueError, match="no shipped policy called 'high' fits"):
        frdiff.enable(pipe, "high")
    with pytest.raises(ValueError, match="tuned on"):
        frdiff.enable(pipe, "digits/high")
    with pytest.raises(FileNotFoundError):
        frdiff.enable(pipe, "nothing.json")
    assert patch_of(pipe.unet).run is run
    call(pipe)
    assert run.stats.keyframes == 6
    frdiff.disable(pipe)
