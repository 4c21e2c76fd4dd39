"""What is typed and uploaded: taken, or refused with a message."""

import json
import math
import pickle

import pytest

from frdiff.app.asked import MAX_PROMPT, number, one_of, prompts_of, scales, uploaded, whole
from frdiff.models import shipped_folder
from frdiff.policy import UniformPolicy


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 "])
def test_whole_numbers(value):
    assert whole("steps", value, 1, 250) == 7


@pytest.mark.parametrize(
    "value",
    [0, 10_000, -1, 2.5, None, "", "many", "1e99", math.nan, math.inf, True, [7], "7" * 100_000],
)
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"steps must be .*from 1 to 250, got") as refused:
        whole("steps", value, 1, 250)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", ["nan", math.nan, "inf", None, "x", 101, -0.1, {}])
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"guidance must be .*0 to 100"):
        number("guidance", value, 0, 100)


def test_guidance_is_a_scale_or_a_range():
    assert scales("7.5", None) == 7.5
    assert scales(" 2-8 ", None) == (2, 8)
    assert scales("", 2.0) == 2.0
    assert scales(None, None) is None


@pytest.mark.parametrize("text", ["nan", "8-2", "2-2", "1-2-3", "-1", "a-b", "1e9", "2-inf"])
def test_what_is_neither_a_scale_nor_a_range_is_refused(text):
    with pytest.raises(ValueError, match="guidance must be a number"):
        scales(text, None)


def test_prompts_are_lines():
    assert prompts_of(" red  apple \n\nwolf\n", needed=True) == ["red apple", "wolf"]
    assert prompts_of("whatever", needed=False) == [""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the prompt is empty"),
        (" \n\t", "the prompt is empty"),
        (None, "the prompt is empty"),
        ("a\nb\nc", "at most 2 prompts"),
        ("a" * (MAX_PROMPT + 1), "at most 1000 characters"),
    ],
)
def test_prompts_that_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        prompts_of(text, needed=True, most=2)


@pytest.mark.parametrize("value", ["euler-z", None, ["dpm++"], "x" * 100_000])
def test_an_unknown_choice_is_refused_with_those_known(value):
    with pytest.raises(ValueError, match="solver must be one of dpm, ddim; got") as refused:
        one_of("solver", value, ["dpm", "ddim"])
    assert len(str(refused.value)) < 200


def test_an_uploaded_policy_is_the_one_saved(tmp_path):
    policy = UniformPolicy(3)
    policy.save(tmp_path / "mine.json")
    assert uploaded(str(tmp_path / "mine.json")) == policy


def good():
    return json.loads((shipped_folder("emoji") / "policies/dpm++-25-speedup-2.json").read_text())


HOSTILE = {
    "huge": b" " * 4_000_001,
    "not JSON": b"GIF89a",
    "nested deeply": b"[" * 100_000 + b"]" * 100_000,
    "of another version": json.dumps(good() | {"frdiff_policy": 2}).encode(),
    "pickled": pickle.dumps({"frdiff_policy": 1}),
    "with a number that is none": b'{"frdiff_policy": 1, "kind": "uniform", "tau": NaN}',
    "with a field nobody knows": json.dumps(good() | {"__class__": "os.system"}).encode(),
    "empty": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_by_name_without_their_folder(tmp_path, kind):
    path = tmp_path / "hostile.json"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"'hostile.json': ") as refused:
        uploaded(str(path))
    assert str(tmp_path) not in str(refused.value)
    assert len(str(refused.value)) < 500
