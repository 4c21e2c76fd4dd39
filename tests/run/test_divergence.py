"""Divergence: the step is named at which scores stop being finite, or outgrow the computed ones."""

import warnings

import pytest
from test_jumps import told

import frdiff
from conftest import call
from frdiff.run.divergence import Divergence

STEADY = [1.0] * 11


@pytest.mark.parametrize(
    "policy", [frdiff.JumpPolicy(2), frdiff.JumpPolicy(1)], ids=["jumps", "full"]
)
@pytest.mark.filterwarnings("ignore:the plan computes 100%")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_named_once(policy, bad):
    values = [STEADY, STEADY[:4] + [bad] * 7]
    with pytest.warns(UserWarning, match="score of step 4 is not finite") as caught:
        told(values, policy)
    assert sum("diverges" in str(row.message) for row in caught) == 1


def test_a_jump_larger_than_the_keyframes_around_it_is_named():
    policy = frdiff.JumpPolicy(4)
    assert policy.plan(11).keyframes == (0, 3, 7, 10)
    # From -3 and 3, three steps apart, to 5, 7 and 9; the keyframe after them is 1 again.
    values = [-3.0, 0, 0, 3.0, 0, 0, 0, 1.0, 0, 0, 1.0]
    with pytest.warns(UserWarning, match="step 6, a jump step, is 3.0 times as large"):
        told([values], policy)


def test_scores_that_grow_as_the_next_keyframe_does_are_none():
    told([[2.0**step for step in range(11)]], frdiff.JumpPolicy(2))


def test_good_runs_say_nothing(pipe):
    policies = [
        frdiff.UniformPolicy(2, bias=0.5),
        frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="all"),
        frdiff.JumpPolicy(2, checked=True),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in policies:
            with frdiff.apply(pipe, policy):
                call(pipe, steps=12)


def test_nothing_seen_is_nothing_said():
    watch = Divergence()
    watch.note(0, None)
    assert watch.complaint(frdiff.JumpPolicy(2).plan(3)) is None
