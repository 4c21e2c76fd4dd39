"""What whoever tries the command line for the first time meets."""

import json
import subprocess
import sys

import pytest
from PIL import Image

import frdiff
from command_line import run
from frdiff import progress
from frdiff.models import shipped_captions, shipped_models

HELP = """
import sys
from typer.testing import CliRunner
import frdiff
from frdiff.cli import app
commands = [command.callback.__name__ for command in app.registered_commands]
for arguments in (["--help"], ["--version"], *([name, "--help"] for name in commands)):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    if arguments == ["--help"]:
        assert all(name in result.output for name in commands)
heavy = {"torch", "diffusers", "transformers", "numpy", "PIL", "matplotlib"}
print(len(commands), sorted(heavy & sys.modules.keys()))
"""


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-c", HELP]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    count, heavy = result.stdout.split(maxsplit=1)
    assert int(count) >= 6 and heavy.strip() == "[]"


def test_the_package_imports_its_names_when_they_are_asked_for():
    said = "import sys, frdiff; print('torch' in sys.modules, frdiff.__version__)"
    said += "; from frdiff import *; print('torch' in sys.modules, apply.__module__)"
    result = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", frdiff.__version__, "True", "frdiff.run.applying"]


def test_every_name_is_there():
    assert set(frdiff.__all__) == {*frdiff._HOMES, "__version__"}
    assert set(frdiff.__all__) <= set(dir(frdiff))
    assert all(getattr(frdiff, name) is not None for name in frdiff.__all__)
    assert frdiff.search.tune is frdiff.tune
    with pytest.raises(AttributeError, match="module 'frdiff' has no attribute 'aply'"):
        frdiff.aply  # noqa: B018


def test_version():
    assert run("--version").output == f"frdiff {frdiff.__version__}\n"


@pytest.mark.filterwarnings("ignore:a run of:UserWarning")
@pytest.mark.filterwarnings("ignore:.*the run diverges:UserWarning")  # in 4 steps of flow matching
@pytest.mark.parametrize("name", shipped_models())
def test_generate_draws_with_every_shipped_model(name, tmp_path):
    prompts = (2 * shipped_captions(name))[:2]
    result = run("generate", name, *prompts, "--steps", 4, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 4
    with Image.open(tmp_path / "pictures.png") as sheet:
        assert sheet.width > 2 * 128
        assert len(sheet.convert("L").getcolors()) > 16


@pytest.mark.filterwarnings("ignore:a run of:UserWarning")
def test_grey_pictures_are_compared(tmp_path):
    options = ["--compare", "--steps", 4, "--converged", 6, "--repeats", 1, "--output", tmp_path]
    result = run("generate", "digits", "1", *options, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert all(row["psnr_converged"] > 0 and row["ssim"] <= 1 + 1e-6 for row in rows)


@pytest.mark.filterwarnings("ignore:a run of:UserWarning")
def test_json_stays_alone_on_stdout_while_progress_is_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "HEARTBEAT", 1e-3)
    result = run("generate", folder, "1", "--steps", 12, "--output", tmp_path, "--json")
    assert json.loads(result.stdout)["steps"] == 12
    assert "s: loading" in result.stderr and "s: drawing" in result.stderr
