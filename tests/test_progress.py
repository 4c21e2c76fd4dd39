"""What tells how far work is: on a terminal, and where no bar can move."""

import re
import time

import pytest
from rich.console import Console

from frdiff import progress


@pytest.fixture
def told(monkeypatch, capsys):
    """What shows progress in lines, at a quick pace, and what it said on stderr so far."""
    monkeypatch.setattr(progress, "HEARTBEAT", 0.05)
    return lambda: capsys.readouterr().err.splitlines()


def test_progress_is_told_where_no_bar_can_move(told):
    with progress.lines("thinking [/]", Console(stderr=True)) as show:
        time.sleep(0.3)
        show("drawing", 3, 7)
        time.sleep(0.3)
    lines = told()
    assert lines[0] == "0 s: thinking [/]" and lines[-1].endswith("s: drawing (3 of 7)")


def test_it_says_how_long_the_rest_takes(told):
    with progress.lines("drawing", Console(stderr=True)) as show:
        show("drawing", 10, 40)  # of which 10 were there
        time.sleep(1)
        show("drawing", 20, 40, "pictures")
        time.sleep(0.2)
    lines = told()
    assert lines[0].endswith("drawing (10 of 40)")
    assert re.search(r"drawing \(20 of 40 pictures, [23] s left\)$", lines[-1])


def test_what_was_slow_before_work_is_paced_says_nothing_of_the_rest(told):
    with progress.lines("choosing", Console(stderr=True)) as show:
        show("choosing", 0, 31, paced=False)
        time.sleep(1)
        show("choosing", 1, 31, paced=False)  # half a minute left, at this pace
        time.sleep(0.2)
        assert told()[-1].endswith("choosing (1 of 31)")
        show("drawing", 1, 31)
        time.sleep(0.5)
        show("drawing", 11, 31)
        time.sleep(0.2)
    assert re.search(r"\(11 of 31, [12] s left\)$", told()[-1])


def test_a_bar_says_the_same(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.bar("thinking [/]", Console(stderr=True)) as show:
        show("drawing [all]", 3, 7, "pictures")
    assert "drawing [all]" in (said := capsys.readouterr().err) and "3 of 7 pictures" in said
