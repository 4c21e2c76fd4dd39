"""What the page's buttons are answered with, asked without a page."""

import pickle

import numpy as np
import pytest

from frdiff.app.comparing import FEWER, UNTUNED
from frdiff.app.desk import Desk
from frdiff.app.studio import Opened
from frdiff.app.wording import COMPARE, SEARCH, SECONDS, TRUTHS
from frdiff.models import shipped_folder
from frdiff.schedulers.named import scheduler_for

FIELDS = {
    "model": "digits",
    "prompt": "",
    "seed": 3,
    "steps": 10,
    "guidance": "",
    "solver": "the model's own",
    "against": TRUTHS[1],
    "ways": ["digits/fast"],
    "file": None,
}
ANSWERS = {
    "steps": 6,
    "solver": "the model's own",
    "guidance": "",
    "goal": SECONDS,
    "amount": 2,
    "samples": 2,
    "evaluations": "2",
    "prompts": "",
}


@pytest.fixture
def desk(studio):
    return Desk(studio)


def test_fields_are_what_the_model_has(desk):
    fields = desk.fields("digits")
    assert fields.prompt is None and fields.guidance is None  # unconditional
    assert fields.steps == 25
    assert fields.solvers[0] == FIELDS["solver"]
    assert list(fields.ways) == [*fields.policies, FEWER, *UNTUNED]
    assert set(fields.chosen) <= set(fields.ways)
    with pytest.raises(ValueError, match="model must be one of"):
        desk.fields("../etc")


def test_solvers_that_need_what_is_not_installed_are_left_out(studio, monkeypatch):
    def without_scipy(pipe, name):
        if name == "lms":
            raise ImportError("LMSDiscreteScheduler requires the scipy library")
        return scheduler_for(pipe, name)

    opened = studio.opened("digits")
    assert "lms" in opened.solvers
    monkeypatch.setattr("frdiff.app.studio.scheduler_for", without_scipy)
    assert Opened("digits", opened.pipe).solvers == [
        name for name in opened.solvers if name != "lms"
    ]


def test_a_comparison_shows_what_is_there_after_each_picture_and_ends_with_them_large(desk):
    *before, last = desk.compare("me", FIELDS)
    counts = [one.cards.count("<figure") for one in before]
    assert counts == [1, 2, 2, 2]  # the full run, the policy, what is counted, and decibels
    assert "counted next" in before[1].cards and "counted next" not in before[2].cards
    assert "not drawn yet" in before[2].cards and "dB" in before[3].cards
    assert all(one.pictures is None and "<progress" in one.status for one in before)
    assert list(last.pictures) == ["full run", "digits/fast"]
    assert all(min(one.size) >= 512 for one in last.pictures.values())
    assert "<progress" not in last.status


def test_all_that_is_answered_can_be_sent(desk):
    answers = [desk.fields("digits"), *desk.compare("me", FIELDS)]
    answers.append(next(desk.compare("me", FIELDS | {"steps": "no"})))
    for one in answers:
        again = pickle.loads(pickle.dumps(one))
        assert again.__dict__.keys() == one.__dict__.keys()
    sent, kept = pickle.loads(pickle.dumps(answers[-2])).pictures, answers[-2].pictures
    assert all(np.array_equal(sent[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", "nothing", "model must be one of"),
        ("steps", "many", "steps must be a"),
        ("steps", 0, "steps must be from 1 to 250, got 0"),
        ("guidance", "7", "digits takes no guidance"),
        ("against", "the moon", "dB to the must be one of"),
        ("ways", [], "choose one to 3 ways"),
        ("file", "/nowhere/policy.json", "policy.json"),
    ],
)
def test_what_is_refused_is_one_message_and_nothing_is_drawn(desk, field, value, said):
    (answer,) = desk.compare("me", FIELDS | {field: value})
    assert said in answer.status and 'role="alert"' in answer.status
    assert answer.cards is None and answer.pictures is None


def test_a_session_stops_its_own_work_alone(desk):
    drawing = desk.compare("me", FIELDS)
    next(drawing)
    assert not desk.stop("somebody else", COMPARE)
    assert not desk.stop("me", SEARCH)
    assert desk.stop("me", COMPARE)
    (last,) = drawing
    assert "stopped" in last.status and last.pictures is None
    assert not desk.stop("me", COMPARE)


def test_a_comparison_begun_anew_stops_the_one_before(desk):
    first = desk.compare("me", FIELDS)
    next(first)
    assert list(desk.compare("me", FIELDS))[-1].pictures
    (last,) = first
    assert "stopped" in last.status


@pytest.mark.slow
def test_a_search_ends_with_a_file_and_the_lines_that_use_it(desk):
    *before, last = desk.search("me", "digits", ANSWERS)
    assert all(one.code is None and one.found is None for one in before)
    assert 'download="policy.json"' in last.found
    assert "frdiff.enable(pipe, 'policy.json')" in last.code
    assert last.plot.count("<circle") > 5


def test_a_search_that_is_refused_is_one_message(desk):
    (answer,) = desk.search("me", "digits", ANSWERS | {"amount": "fast"})
    assert "how much must be a" in answer.status
    assert answer.plot is None


def test_a_policy_is_inspected_and_one_that_is_none_is_refused(desk, tmp_path):
    file = shipped_folder("digits") / "policies" / "dpm++-25-speedup-3.json"
    shown = desk.inspect("digits", "", "", "", str(file))
    assert shown.startswith("<h2>dpm++-25-speedup-3.json</h2>")
    assert "predicted seconds" in shown
    wrong = tmp_path / "<b>.json"
    wrong.write_text("{}")
    said = desk.inspect("digits", "", "", "", str(wrong))
    assert "not a valid policy file" in said and "<b>" not in said


def test_what_a_models_own_code_raises_is_said_and_logged(desk, studio, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(studio.opened("digits").pipe.unet, "forward", broken)
    (answer,) = desk.compare("me", FIELDS)
    assert "this failed: RuntimeError: out of &lt;luck&gt;" in answer.status
    assert "Traceback" in caplog.text
