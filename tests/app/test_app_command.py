"""`frdiff app` where it cannot serve: one line each."""

import os
import socket
import subprocess
import sys

import pytest

from command_line import run, the_line


def test_what_is_no_model_is_refused_before_anything_heavy_is_imported():
    pytest.importorskip("gradio")
    said = the_line(run("app", "nonsense", "--no-browser"))
    assert said.startswith("'nonsense' is none of the shipped models (digits, emoji")


@pytest.mark.slow
def test_a_device_that_is_not_there_ends_it():
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "frdiff", "app", "digits", "--no-browser"]
    result = subprocess.run(
        [*command, "--device", "nowhere"], capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: no device 'nowhere' here; there is: cpu")


@pytest.mark.slow
def test_a_port_that_is_taken_is_told():
    pytest.importorskip("gradio")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "frdiff", "app", "--no-browser", "--port", port]
        result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and port in result.stderr
    assert "Traceback" not in result.stderr


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "frdiff.app.serving", raising=False)
    said = the_line(run("app", "--no-browser"))
    assert said == "the app needs gradio: pip install 'frdiff[app]'"


@pytest.mark.slow
def test_told_to_end_it_leaves_no_files(tmp_path):
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "frdiff", "app", "digits", "--no-browser"]
    place = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=place, text=True) as server:
        try:
            assert server.stdout.readline().startswith("http://127.0.0.1:")
            assert list(tmp_path.glob("frdiff-app-*"))
        finally:
            server.terminate()
        assert server.wait(60) == 143
    assert list(tmp_path.glob("frdiff-app-*")) == []
