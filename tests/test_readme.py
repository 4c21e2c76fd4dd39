"""What the README promises: its code runs, its figures are the committed ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_is_short_and_shows_the_commands_first():
    lines = README.splitlines()
    assert len(lines) < 150
    text = README
    assert text.index("make demo") < text.index("make test") < text.index("import frdiff")


def test_pictures_exist():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file(), picture


@pytest.mark.slow
def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    # One after the other, as a reader types them.
    for index, code in enumerate(re.findall(r"```python\n(.*?)```", README, re.S)):
        exec(compile(code, f"README block {index}", "exec"), names)
    assert names["run"].stats.keyframes <= 12  # half the cost of 25 steps
