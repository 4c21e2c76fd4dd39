"""What the docs show runs: code as a reader types it, commands as the command line takes them."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from frdiff.cli import app

ROOT = Path(__file__).parents[2]
# README's code is run by tests/test_readme.py.
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SHELL = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
INDENTED = re.compile(r"^(?: {4}|\t)(.+(?:\\\n.+)*)", re.M)
INLINE = re.compile(r"`([^`\n]+)`")
PLACEHOLDER = re.compile("[A-Z]+")  # MODEL, G


def name(page):
    return page.relative_to(ROOT).as_posix()


def python_blocks(page):
    text = page.read_text(encoding="utf-8")
    return [code for language, code in FENCE.findall(text) if language == "python"]


def commands(page):
    """All that a page has its reader type: what begins with `frdiff` or `make`."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [line.replace("\\\n", " ") for line in INDENTED.findall(text)] + INLINE.findall(text)
    lines = [
        shlex.split(line, comments=True) for line in found if re.match(r"(frdiff|make) ", line)
    ]
    # Within a sentence `frdiff walk` alone names a command.
    return [words for words in lines if len(words) > 1]


with_code = [page for page in PAGES if python_blocks(page)]
with_commands = [page for page in SHELL if commands(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", with_code, ids=name)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, code in enumerate(python_blocks(page)):
        exec(compile(code, f"{name(page)}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_run_or_says_that_it_is_text(page):
    languages = {language for language, _ in FENCE.findall(page.read_text(encoding="utf-8"))}
    assert languages <= {"python", "text"}


@pytest.mark.parametrize("page", with_commands, ids=name)
def test_commands_are_taken(page):
    command_line = typer.main.get_command(app)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for program, first, *words in commands(page):
        if program == "make":
            assert first in targets, f"make {first}"
        elif not first.startswith("--"):
            command = command_line.commands[first]
            # Parsed as if it were run; nothing is. A sentence may name a command alone.
            if words and not any(PLACEHOLDER.fullmatch(word) for word in words):
                command.make_context(first, words)


def test_a_wrong_command_would_be_noticed():
    tune = typer.main.get_command(app).commands["tune"]
    with pytest.raises(Exception, match="--speedupp"):
        tune.make_context("tune", ["emoji", "--speedupp", "2"])
