"""Turns of a clip: every frame once, what it is made of made before it, polynomials reproduced."""

import pytest

from frdiff import apply, load_policy
from frdiff.frames import FramePolicy
from frdiff.plan import Action

every_order = pytest.mark.parametrize("order", [0, 1, 2, 3])
every_interval = pytest.mark.parametrize("interval", [1, 1.5, 2, 3, 7.3, 100])
every_length = pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 9, 60])
PLACINGS = ("even", "moves")


def uneven(num_frames):
    return [0.1 + (number % 5) ** 2 for number in range(num_frames - 1)]


@every_order
@every_interval
@every_length
@pytest.mark.parametrize("placing", PLACINGS)
def test_every_frame_is_made_once_from_keyframes_made_before_it(
    order, interval, num_frames, placing
):
    policy = FramePolicy(interval, order, placing=placing)
    turns = policy.turns(uneven(num_frames))
    assert sorted(turn.frame for turn in turns) == list(range(num_frames))
    keyframes = []
    for turn in turns:
        if not turn.sources:
            assert turn.step.action is Action.KEYFRAME
            keyframes.append(turn.frame)
            continue
        # The engine keeps the newest keyframes, and its weights belong to these in their order.
        assert list(turn.sources) == keyframes[::-1][: len(turn.sources)]
        assert len(turn.sources) <= order + 1
        (weights,) = turn.step.forecast_weights
        assert sum(weights) == pytest.approx(1)
        for power in range(len(turn.sources)):
            value = sum(w * key**power for w, key in zip(weights, turn.sources, strict=True))
            assert value == pytest.approx(turn.frame**power, abs=1e-6 * 60**3)
    assert keyframes == sorted(keyframes) and keyframes[0] == 0


def test_an_inner_frame_has_keyframes_on_both_sides():
    turns = {turn.frame: turn for turn in FramePolicy(2, 3).turns([1.0] * 10)}
    assert turns[5].sources == (8, 6, 4, 2)
    assert turns[5].step.forecast_weights == ((-0.0625, 0.5625, 0.5625, -0.0625),)
    assert turns[1].sources == (4, 2, 0)


def test_order_0_copies_the_frame_before():
    turns = FramePolicy(3, 0).turns([1.0] * 6)
    assert [turn.frame for turn in turns] == list(range(7))
    assert [turn.sources for turn in turns] == [(), (0,), (0,), (), (3,), (3,), ()]


def test_keyframes_lie_close_where_inputs_move():
    moves = [0.0] * 20 + [1.0] * 4 + [0.0] * 20
    turns = FramePolicy(11, 1, placing="moves").turns(moves)
    keyframes = [turn.frame for turn in turns if not turn.sources]
    assert keyframes == [0, 21, 22, 23, 44]


@every_interval
def test_keyframes_are_one_of_so_many(interval):
    policy = FramePolicy(interval)
    keyframes = policy.plan(601).count(Action.KEYFRAME)
    assert 600 / interval <= keyframes <= 600 / interval + 2


def test_without_targets_frames_between_make_no_call():
    plan = FramePolicy(2, 1, ()).plan(5)
    assert plan.count(Action.JUMP) == 2 and plan.count(Action.REUSE) == 0
    assert not FramePolicy(2, 1, ()).reuses and FramePolicy(2, 1, ()).score_depth == 2


@pytest.mark.parametrize("policy", [FramePolicy(2.5, 2, ["up.*"]), FramePolicy(3, 1, ())])
def test_files_give_the_policy_back(policy, tmp_path):
    policy.save(tmp_path / "policy.json")
    assert load_policy(tmp_path / "policy.json") == policy


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"interval": 0.5}, "interval must be from 1"),
        ({"interval": 2, "order": 4}, "order must be from 0 to 3"),
        ({"interval": 2, "placing": "odd"}, "placing must be one of"),
        ({"interval": 2, "targets": "none"}, "targets must be one of"),
    ],
)
def test_bad_fields_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        FramePolicy(**arguments)


def test_a_sampling_loop_has_no_frames(pipe):
    with pytest.raises(ValueError, match=r"frdiff\.frames\.draw"):
        apply(pipe, FramePolicy(2))
