"""How far a search is, in full runs: what it tells adds up to what it says it took."""

import pytest

import frdiff
from frdiff.search.account import Account, Progress, shown

WORDS = {"num_steps": 12, "samples": 4, "speedup": 2}


def test_what_is_drawn_adds_up_in_full_runs_of_a_half():
    told = []
    account = Account(told.append, samples=8, all_runs=3.0)
    account.drawn(4.0, 2)  # two samples of eight, four times as many steps
    account.learning(0.5, "learning")
    account.learning(1.0, "learning")
    account.learnt()
    account.drawn(2.0, 8)
    assert [now.runs for now in told] == [1.0, 1.5, 2.0, 4.0]
    assert [now.doing for now in told] == ["measuring the full run", "learning"] + 2 * ["learning"]
    assert [now.all_runs for now in told] == [3.0, 3.0, 3.0, 4.0]  # never more than all


@pytest.mark.parametrize("forced", [True, False])
def test_a_bar_shows_it_on_a_terminal_and_nothing_elsewhere(monkeypatch, capsys, forced):
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "120")
    with shown("measuring") as show:
        show(Progress("learning [all]", 1, None, 12.3, 30.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("learning [all]" in captured.err) == forced
    assert ("of 30 full runs" in captured.err) == forced


@pytest.mark.slow
@pytest.mark.parametrize("words", [{}, {"evaluations": 2}, {"vary": ["keyframes", "steps"]}])
def test_a_search_takes_about_what_it_is_said_to(words):
    told = []
    pipe = frdiff.load_model("digits")
    policy = frdiff.tune(pipe, on_event=told.append, **WORDS, **words)
    runs = [now.runs for now in told]
    assert runs == sorted(runs)
    # Recordings of the full run, and what tells how halves differ, are told of nobody.
    assert runs[-1] == pytest.approx(policy.origin.figures["search_runs"], rel=0.15)
    known = next(now for now in told if now.doing == "drawing the converged solution")
    assert known.all_runs == pytest.approx(runs[-1], rel=0.3)
    assert told[0].all_runs > 0  # as soon as anything is drawn
    assert [now.paced for now in told] == sorted(now.paced for now in told) and known.paced
    assert {now.all_runs for now in told if now.candidate} != {0}


def test_no_bars_but_its_own_are_shown_and_the_pipelines_come_back(capsys):
    pipe = frdiff.load_model("digits")
    pipe.set_progress_bar_config(desc="mine")
    frdiff.tune(pipe, evaluations=1, **WORDS)
    assert "mine" not in capsys.readouterr().err
    pipe(num_inference_steps=2)
    assert "mine" in capsys.readouterr().err


def test_a_search_that_goes_on_draws_and_tells_what_is_left(tmp_path):
    pipe = frdiff.load_model("digits")
    journal = tmp_path / "journal"
    first, again = [], []
    policy = frdiff.tune(pipe, journal=journal, evaluations=1, on_event=first.append, **WORDS)
    same = frdiff.tune(pipe, journal=journal, evaluations=1, on_event=again.append, **WORDS)
    assert same == policy
    assert first[-1].runs > 1
    assert all(now.runs == 0 for now in again)
