"""Every error of every command is one line; Ctrl-C says what is kept and how to go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import typer
from typer.testing import CliRunner

import frdiff
from command_line import run, the_line
from frdiff.cli.errors import STOPPED, OneLineErrors
from frdiff.models import shipped_models


def raising(error):
    """A command line whose one command raises."""
    app = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @app.callback()
    def options(traceback: bool = False) -> None:
        pass

    @app.command()
    def command() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first\n  second"), "first second"),
        (KeyError("shape"), "KeyError: 'shape'; FRDIFF_TRACEBACK=1 shows where it comes from"),
        (AssertionError(), "AssertionError: ; FRDIFF_TRACEBACK=1 shows where it comes from"),
        (ModuleNotFoundError("No module named 'x'"), "ModuleNotFoundError: No module named 'x'; "),
        (RuntimeError("  "), "RuntimeError: "),
        (OSError("[/] is markup"), "[/] is markup"),
    ],
)
def test_whatever_is_raised_becomes_one_line(error, said):
    assert the_line(CliRunner().invoke(raising(error), ["command"])).startswith(said)


def test_a_traceback_is_shown_to_who_asks():
    shown = CliRunner().invoke(raising(KeyError("shape")), ["--traceback", "command"]).stderr
    assert "Traceback" in shown and "raise error" in shown
    assert shown.splitlines()[-1].startswith("error: KeyError: 'shape'")


def test_ctrl_c_is_no_error():
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["command"])
    assert the_line(result, "stopped", STOPPED) == "by Ctrl-C"


class Dying:
    def __del__(self):
        signal.default_int_handler(signal.SIGINT, None)


def test_ctrl_c_is_not_lost_in_a_callback():
    app = typer.Typer(cls=OneLineErrors)

    @app.command()
    def command():
        Dying()  # Python prints what its finalizer raises, and goes on
        time.sleep(10)

    @app.command()
    def other():
        pass

    before = sys.unraisablehook
    # A shell's background jobs, as tests may be, begin with Ctrl-C ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = CliRunner().invoke(app, ["command"])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert the_line(result, "stopped", STOPPED) == "by Ctrl-C"
    assert sys.unraisablehook is before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["generate", "FOLDER", "1", "--interval", "0"], "interval must be from 1"),
        (["generate", "FOLDER", "1", "--targets", "*.nothing"], "matches no module"),
        (["generate", "FOLDER", "apple"], "takes class numbers"),
        (["generate", "FOLDER", "1", "--policy", "none.json"], "No such file"),
        (["generate", "FOLDER", "1", " "], "prompt 2 of 2 is empty"),
        (["generate", "emoji", ""], "prompt 1 of 1 is empty"),
        (["generate", "digits", "1", "--guidance", "2"], "DDIMPipeline takes no guidance"),
        (["generate", "FOLDER", "1", "--device", "abacus"], "no device 'abacus' here; there is"),
        (["tune", "emoji", "pizza", "", "--speedup", "2"], "prompt 2 of 2 is empty"),
        (["tune", "FOLDER", "--speedup", "2"], "this pipeline draws from prompts"),
        (["inspect", "none.json"], "No such file"),
        (["inspect", "FOLDER", "--targets", "*.nothing"], "matches no module"),
        (["analyze", "FOLDER"], "ships no prompts"),
        (["report", "nowhere"], "no results in"),
    ],
)  # fmt: skip
def test_bad_input_ends_before_anything_is_drawn(arguments, text, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*[folder if argument == "FOLDER" else argument for argument in arguments])
    assert text in the_line(result)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a device beside the CPU")
@pytest.mark.parametrize("command", ["generate", "tune", "bench", "analyze"])
def test_a_device_that_is_not_there(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {"generate": ["1"], "tune": ["--speedup", "2"]}.get(command, [])
    result = run(command, "digits", *more, "--device", "cuda")
    assert the_line(result) == "no device 'cuda' here; there is: cpu"


@pytest.mark.parametrize("name", ["dgits", "/nowhere", "some/thing", "a/b/c", ""])
@pytest.mark.parametrize("command", ["generate", "tune", "inspect", "analyze", "bench"])
def test_a_model_that_is_not_there(command, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {"generate": ["1"], "tune": ["--speedup", "2"]}.get(command, [])
    line = the_line(run(command, name, *more))
    assert repr(name) in line and all(shipped in line for shipped in shipped_models())
    if command != "bench":
        assert "no folder" in line and "hub id" in line


@pytest.mark.parametrize("index", ["[]", "{}", "not json", '{"_class_name": "Nothing"}'])
def test_a_folder_that_holds_no_pipeline(index, tmp_path):
    (tmp_path / "model_index.json").write_text(index)
    the_line(run("inspect", tmp_path))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nothing"], "No such option"),
        (["tun"], "No such command 'tun'. Did you mean 'tune'?"),
        (["tune"], "Missing argument"),
        (["generate", "digits", "1", "--nothing"], "No such option"),
        (["generate", "digits", "1", "--steps", "many"], "Invalid value for '--steps'"),
        (["generate", "digits", "1", "--scheduler", "magic"], "dpm++karras"),
    ],
)
def test_misuse_is_one_line_too(arguments, text):
    line = the_line(run(*arguments), status=2)
    assert text in line and "--help" in line


def test_a_policy_for_another_step_count(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frdiff.KeyframePolicy(14, [0, 5]).save("policy.json")
    result = run("generate", folder, "1", "--policy", "policy.json", "--steps", 20)
    assert "resample(20)" in the_line(result)


@pytest.mark.parametrize("field", [{"targets": ["[/x]"]}, {"kind": "[/x]"}])
def test_markup_in_a_file_is_text(field, tmp_path):
    path = tmp_path / "policy.json"
    frdiff.UniformPolicy(2).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | field))
    result = run("inspect", path)
    assert "[/x]" in result.output + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import torch
torch.set_num_threads(1)
from frdiff.cli import main
main()
"""


def stopped(arguments, place, journal=None):
    """The exit status and the last line of a command that gets Ctrl-C.

    Once an answer is in the journal, or else once the first line of progress is told.
    """
    command = [sys.executable, "-c", MAIN, *arguments]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as process:
        if journal is None:
            assert " s: " in process.stderr.readline()
        while journal is not None and process.poll() is None:
            if journal.exists() and len(journal.read_bytes().splitlines()) > 1:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        written = process.stderr.read()
    assert "Traceback" not in written
    return process.returncode, written.splitlines()[-1]


@pytest.mark.slow
def test_a_search_that_is_stopped_goes_on(folder, tmp_path):
    journal = tmp_path / "a policy.journal"
    arguments = ["tune", folder, "1", "2", "--steps", "12", "--samples", "2", "--speedup", "2"]
    arguments += ["--evaluations", "6", "-o", "a policy.json"]
    status, line = stopped(arguments, tmp_path, journal)
    assert status == STOPPED
    again = f"frdiff {' '.join(arguments[:-1])} 'a policy.json'"
    assert line == f"stopped: what was measured is kept in {journal.name}; go on with: {again}"
    kept = journal.read_bytes()
    assert not (tmp_path / "a policy.json").exists()
    arguments[-1] = str(tmp_path / "a policy.json")
    assert run(*arguments).exit_code == 0
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n")])


@pytest.mark.slow
def test_a_bench_that_is_stopped_says_how_to_go_on(tmp_path):
    (tmp_path / "kept").mkdir()
    arguments = ["bench", "digits", "--pictures", "16", "--results", "kept"]
    status, line = stopped(arguments, tmp_path)
    assert status == STOPPED
    again = "go on with: frdiff " + " ".join(arguments)
    assert line == f"stopped: what was measured is kept in kept; {again}"
