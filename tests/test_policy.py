import json
from dataclasses import replace

import pytest

import frdiff
from frdiff.plan import Action

UNIFORM = frdiff.UniformPolicy(3, 0.4, 20.0, False, 1, ["*.attn1", "*.ff"])
EXPLICIT = frdiff.KeyframePolicy(6, [0, 3, 5], [1, 0, 0.25, 1, 1, 1], 2, "residual")


def test_papers_counts_for_fifty_steps():
    plan = frdiff.UniformPolicy(interval=2, bias=0.5).plan(50)
    counts = [plan.count(action) for action in (Action.KEYFRAME, Action.JUMP, Action.REUSE)]
    assert counts == [25, 11, 14]
    assert plan.keyframes == tuple(range(0, 50, 2))


def test_no_mixing_means_no_jumps():
    plan = frdiff.UniformPolicy(2, mixing=False).plan(50)
    assert plan.count(Action.JUMP) == 0
    assert all(step.mixing_weight == 1 for step in plan)


@pytest.mark.parametrize(
    ("num_steps", "interval", "keyframes"),
    [
        (13, 3, (0, 3, 6, 9, 12)),  # the same as from the start
        (14, 3, (0, 4, 7, 10, 13)),
        (15, 3, (0, 5, 8, 11, 14)),
        (14, 2, (0, 3, 5, 7, 9, 11, 13)),
        (5, 1, (0, 1, 2, 3, 4)),
        (3, 3, (0,)),
        (1, 2, (0,)),
    ],
)
def test_keyframes_counted_from_the_end(num_steps, interval, keyframes):
    policy = frdiff.UniformPolicy(interval, mixing=False, align="end")
    assert policy.plan(num_steps).keyframes == keyframes


def test_keyframe_policy_follows_its_table():
    actions = [str(step.action) for step in EXPLICIT.plan(6)]
    assert actions == ["keyframe", "jump", "reuse", "keyframe", "reuse", "keyframe"]
    assert EXPLICIT.plan(6)[2].mixing_weight == 0.25


def test_other_step_count_names_the_way_out():
    with pytest.raises(ValueError, match=r"made for 6 steps, the run has 8.*resample\(8\)"):
        EXPLICIT.plan(8)


def test_resample_keeps_places():
    policy = frdiff.KeyframePolicy(5, [0, 2, 4]).resample(9)
    assert policy.keyframes == (0, 4, 8)
    assert frdiff.KeyframePolicy(5, [0, 2, 4]).resample(5).keyframes == (0, 2, 4)
    shorter = EXPLICIT.resample(3)
    assert shorter.plan(3).keyframes[0] == 0
    assert (shorter.forecast, shorter.targets) == (2, "residual")


def test_resample_takes_weights_from_the_nearest_step_in_between():
    policy = frdiff.KeyframePolicy(4, [0, 2], [1, 0.0, 1, 0.75]).resample(8)
    by_hand = {1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0, 6: 0.75, 7: 0.75}
    plan = policy.plan(8)
    for index in set(by_hand) - set(policy.keyframes):
        assert plan[index].mixing_weight == by_hand[index]


@pytest.mark.parametrize(
    "policy",
    [UNIFORM, EXPLICIT, frdiff.JumpPolicy(1.5, 2.0, 2, "noise")],
    ids=["uniform", "keyframes", "jumps"],
)
def test_save_and_load_are_inverse(policy, tmp_path):
    path = tmp_path / "policy.json"
    policy.save(path)
    assert frdiff.load_policy(path) == policy
    assert json.loads(path.read_text())["frdiff_policy"] == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: frdiff.UniformPolicy(0), ValueError, "interval must be from 1"),
        (lambda: frdiff.UniformPolicy(2.0), TypeError, "interval must be an integer"),
        (lambda: frdiff.UniformPolicy(True), TypeError, "interval must be an integer"),
        (lambda: frdiff.UniformPolicy(2, bias=1.5), ValueError, "bias must be from 0 to 1"),
        (lambda: frdiff.UniformPolicy(2, bias=float("nan")), ValueError, "bias must be"),
        (lambda: frdiff.UniformPolicy(2, align="middle"), ValueError, "align must be one of"),
        (lambda: frdiff.UniformPolicy(2, tau=0), ValueError, "tau must be"),
        (lambda: frdiff.UniformPolicy(2, mixing=1), TypeError, "mixing must be True or False"),
        (lambda: frdiff.UniformPolicy(2, forecast=3), ValueError, "forecast must be from 0 to 2"),
        (lambda: frdiff.UniformPolicy(2, targets="attn"), ValueError, "'paper', 'residual'"),
        (lambda: frdiff.UniformPolicy(2, targets=[]), ValueError, "at least one"),
        (lambda: frdiff.UniformPolicy(2, targets=7), TypeError, "targets must be a list"),
        (lambda: frdiff.UniformPolicy(2, coordinate="time"), ValueError, "coordinate must be"),
        (lambda: frdiff.KeyframePolicy(5, [1, 2]), ValueError, "step 0 must be a keyframe"),
        (lambda: frdiff.KeyframePolicy(5, [0, 5]), ValueError, "from 0 to 4, got 5"),
        (lambda: frdiff.KeyframePolicy(5, [0, -1]), ValueError, "from 0 to 4, got -1"),
        (lambda: frdiff.KeyframePolicy(5, [0, 2, 2]), ValueError, "different"),
        (lambda: frdiff.KeyframePolicy(5, "0"), TypeError, "keyframes must be a list"),
        (lambda: frdiff.KeyframePolicy(3, [0], [1, 1]), ValueError, "one number per step, 3"),
        (lambda: frdiff.KeyframePolicy(2, [0], [1, float("nan")]), ValueError, "mixing weight"),
        (lambda: frdiff.KeyframePolicy(2, [0], [1, 1.1]), ValueError, "from 0 to 1, got 1.1"),
        (lambda: frdiff.UniformPolicy(2).plan(0), ValueError, "num_steps must be from 1"),
    ],
)
def test_bad_values_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


GOOD = {
    "frdiff_policy": 1, "kind": "uniform", "interval": 2, "bias": 0.5, "tau": 30.0,
    "mixing": True, "forecast": 0, "targets": "paper", "coordinate": "step", "align": "start",
}  # fmt: skip


@pytest.mark.parametrize(
    "policy",
    [
        frdiff.UniformPolicy(2, storage=frdiff.Storage("half")),
        frdiff.KeyframePolicy(3, [0, 2], storage=frdiff.Storage("half", "int8", 0.5)),
        frdiff.AdaptivePolicy(0.1, storage=frdiff.Storage(offload=True)),
        frdiff.TablePolicy(2, [[0], []], storage=frdiff.Storage("int8")),
    ],
    ids=lambda policy: policy.kind,
)
def test_how_features_are_stored_is_in_the_file(policy, tmp_path):
    policy.save(tmp_path / "policy.json")
    assert frdiff.load_policy(tmp_path / "policy.json") == policy
    assert "storage" not in json.loads(replace(policy, storage=None).dumps())


SMALL = {"newest": "half", "changes": "int8", "rank": 0.5, "offload": False}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"frdiff_policy": 1, "kind"', "Expecting"),
        ("", "Expecting value"),
        ("[]", "top level must be an object"),
        ("{}", "top level must be an object"),
        ("[" * 200_000, "not a valid policy file"),
        (json.dumps(GOOD | {"frdiff_policy": 2}), "version 2 is not supported"),
        (json.dumps(GOOD | {"frdiff_policy": True}), "version True is not supported"),
        (
            json.dumps(GOOD | {"kind": "__import__"}),
            "kind must be one of uniform, jumps, keyframes",
        ),
        (json.dumps(GOOD | {"kind": ["uniform"]}), "kind must be one of"),
        (json.dumps(GOOD | {"code": "rm"}), r"fields unknown: \['code'\]"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "tau"}), r"missing: \['tau'\]"),
        (json.dumps(GOOD | {"bias": float("nan")}), "NaN is not a number"),
        (json.dumps(GOOD | {"bias": float("inf")}), "Infinity is not a number"),
        (json.dumps(GOOD | {"bias": 10**400}), "not a valid policy file"),
        (json.dumps(GOOD | {"interval": "2"}), "interval must be an integer"),
        (json.dumps(GOOD | {"targets": {"a": 1}}), "targets must be a list"),
        (json.dumps(GOOD | {"targets": [3]}), "shell wildcards"),
        (json.dumps(GOOD | {"targets": ["!up*"]}), "beside exceptions after '!'"),
        (json.dumps(GOOD | {"targets": ["<all>", "up*"]}), "beside exceptions after '!'"),
        (json.dumps(GOOD | {"storage": "half"}), "storage must be an object"),
        (json.dumps(GOOD | {"storage": {"newest": "half"} | {"code": 1}}), "of storage unknown"),
        (json.dumps(GOOD | {"storage": SMALL | {"newest": "int4"}}), "'full', 'half', 'int8', got"),
        (json.dumps(GOOD | {"storage": SMALL | {"changes": [1]}}), "changes must be one of"),
        (json.dumps(GOOD | {"storage": SMALL | {"rank": 2}}), "rank must be from 0.001 to 0.999"),
        (json.dumps(GOOD | {"storage": SMALL | {"rank": "0.5"}}), "rank must be a number"),
        (json.dumps(GOOD | {"storage": SMALL | {"changes": None}}), "rank is that of changes"),
        (json.dumps(GOOD | {"storage": SMALL | {"offload": 1}}), "offload must be True or False"),
        (json.dumps(GOOD)[:-1] + ', "interval": 3}', "keys given twice"),
        (b"\xff\xfe{", "not a valid policy file"),
    ],
)
def test_hostile_files_are_refused(text, reason, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=reason) as caught:
        frdiff.load_policy(path)
    assert "bad.json" in str(caught.value)


def test_huge_and_missing_files(tmp_path):
    path = tmp_path / "huge.json"
    path.write_bytes(b" " * 5_000_000)
    with pytest.raises(ValueError, match="at most 4000000 bytes"):
        frdiff.load_policy(path)
    with pytest.raises(FileNotFoundError):
        frdiff.load_policy(tmp_path / "none.json")


def test_long_values_are_cut_in_messages(tmp_path):
    path = tmp_path / "long.json"
    path.write_text(json.dumps(GOOD | {"targets": [[1]] * 500_000}))
    with pytest.raises(ValueError, match="shell wildcards") as caught:
        frdiff.load_policy(path)
    assert len(str(caught.value)) < 1000


def test_a_policy_of_another_kind_is_not_saved(tmp_path):
    class Mine(frdiff.UniformPolicy):
        pass

    with pytest.raises(TypeError, match="only frdiff's own policies can be saved, got Mine"):
        Mine(2).save(tmp_path / "mine.json")
