"""`frdiff app` where it cannot serve: one line each."""

import sys

import pytest

from command_line import run, the_line


def test_what_is_no_model_is_refused_before_anything_heavy_is_imported():
    pytest.importorskip("gradio")
    said = the_line(run("app", "nonsense", "--no-browser"))
    assert said.startswith("'nonsense' is none of the shipped models (digits, emoji")


def test_a_device_that_is_not_there_ends_it(monkeypatch):
    pytest.importorskip("gradio")
    result = run("app", "digits", "--no-browser", "--device", "nowhere")
    assert result.exit_code == 1
    assert "no device 'nowhere' here; there is: cpu" in result.stderr


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "frdiff.app.serving", raising=False)
    said = the_line(run("app", "--no-browser"))
    assert said == "the app needs gradio: pip install 'frdiff[app]'"
