"""Files of results: what a kill, a stranger or another process does to them costs little."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frdiff.evaluation.results import files as results
from frdiff.evaluation.results.files import (
    add_result,
    key_of,
    keys_in,
    read_results,
    results_path,
    tidy,
)
from frdiff.evaluation.results.records import Absence
from made_results import distribution, fidelity

COMMITTED = Path(__file__).parents[2] / "bench/results"
FULL = "fewer steps, DPM-Solver++"
MADE = [
    fidelity(FULL, "25 steps", 100, 50.0),
    fidelity(FULL, "12 steps", 48, 44.0),
    distribution(FULL, "25 steps", "2x", 1.5),
    distribution(FULL, "25 steps", "3x", 1.5),
    Absence(model="toy", family="tomesd", reason="not installed"),
]


@pytest.fixture
def written(tmp_path):
    """A folder with all results in one file, and the file."""
    for result in MADE:
        add_result(tmp_path, result)
    return tmp_path, results_path(tmp_path, "toy")


def read(folder):
    found = read_results(folder)
    return [*found.fidelities, *found.distributions, *found.absences], found.errors


def test_what_is_written_is_read(written):
    folder, path = written
    rows, errors = read(folder)
    assert not errors and {key_of(row): row for row in rows} == {key_of(row): row for row in MADE}
    assert keys_in(folder, "toy") == set(map(key_of, MADE)) and keys_in(folder, "other") == set()
    assert len(path.read_text().splitlines()) == len(MADE)


def test_numbers_are_rounded_when_made_and_stay_so(tmp_path):
    made = fidelity(FULL, "25 steps", 100, 50.123456789, seconds=0.123456789)
    assert made.psnr_full == [50.1235] * 4 and made.seconds == [0.123457] * 3
    add_result(tmp_path, made)
    assert read_results(tmp_path).fidelities == [made]


def test_order_is_that_of_keys_and_a_rerun_changes_its_own_line(written):
    folder, path = written
    tidy(folder, "toy")
    before = path.read_text().splitlines()
    add_result(folder, fidelity(FULL, "12 steps", 48, 45.0))
    tidy(folder, "toy")
    after = path.read_text().splitlines()
    changed = [
        number for number, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
    ]
    assert [json.loads(after[number])["setting"] for number in changed] == ["12 steps"]
    assert {row.psnr_full[0] for row in read_results(folder).fidelities} == {50.0, 45.0}
    add_result(folder, MADE[1])
    tidy(folder, "toy")
    assert path.read_text().splitlines() == before


@pytest.mark.parametrize("left", [1, 40, 400, -2, -1])
def test_whatever_a_kill_leaves_of_a_line_costs_that_line(tmp_path, left):
    for result in MADE[:2]:
        add_result(tmp_path, result)
    path = results_path(tmp_path, "toy")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:left])
    finished = keys_in(tmp_path, "toy")
    # Without its newline alone, a line is whole.
    assert finished == set(map(key_of, MADE[: 2 if left == -1 else 1]))
    add_result(tmp_path, MADE[2])
    add_result(tmp_path, MADE[1])
    tidy(tmp_path, "toy")
    assert keys_in(tmp_path, "toy") == set(map(key_of, MADE[:3])) and not read(tmp_path)[1]


def test_a_kill_while_tidying_leaves_a_whole_file(written, monkeypatch):
    folder, path = written
    before = path.read_bytes()
    monkeypatch.setattr(results.os, "fsync", lambda handle: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tidy(folder, "toy")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("9" * 5000, "no JSON"),
        ("[1, 2]", '"kind" must be one of'),
        ('{"kind": ["fidelity"]}', '"kind" must be one of'),
        ('{"kind": "absence", "model": "../x", "family": "a", "reason": "b"}', "model: "),
        ('{"kind": "absence", "model": "toy", "family": "a"}', "reason: Field required"),
        ('{"kind": "absence", "model": "you", "family": "a", "reason": "b"}', "results of toy"),
        ('{"kind": "' + "x" * 5_000_000 + '"}', "at most 4000000 bytes"),
    ],
)
def test_a_hostile_line_costs_no_other_and_is_named(written, line, said):
    folder, path = written
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, line, *others, ""]))
    rows, (error,) = read(folder)
    assert len(rows) == len(MADE)
    assert error.startswith(f"{path}, line 2: ") and said in error and len(error) <= 500


def test_what_is_strange_is_kept_until_somebody_removes_it(written):
    folder, path = written
    strange = '{"kind": "absence", "frdiff_bench": 2}'
    path.write_text(strange + "\n" + path.read_text())
    tidy(folder, "toy")
    assert path.read_text().splitlines()[-1] == strange
    assert read(folder)[1] and len(keys_in(folder, "toy")) == len(MADE)


def test_a_file_too_large_is_left_alone(written, monkeypatch):
    folder, path = written
    before = path.read_bytes()
    monkeypatch.setattr(results, "MAX_FILE_BYTES", 1000)
    for act in (keys_in, tidy):
        with pytest.raises(ValueError, match="at most 1000 bytes"):
            act(folder, "toy")
    rows, (error,) = read(folder)
    assert not rows and "at most 1000 bytes" in error and path.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from frdiff.evaluation.results.files import add_result, tidy
from made_results import fidelity
folder, name = Path(sys.argv[1]), sys.argv[2]
for number in range(30):
    add_result(folder, fidelity(name, f"{number} steps", 100, 50.0))
    if number % 5 == 0:
        tidy(folder, "toy")
"""


def test_two_writers_lose_nothing_of_each_other(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, name], cwd=Path(__file__).parent)
        for name in ("frdiff", "paper")
    ]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    rows, errors = read(tmp_path)
    assert not errors and len(rows) == 60


def test_what_is_committed_is_few_small_sound_and_in_order():
    paths = sorted(COMMITTED.glob("*.jsonl"))
    assert 3 <= len(paths) <= 20 and sum(path.stat().st_size for path in paths) <= 5_000_000
    found = read_results(COMMITTED)
    assert not found.errors
    counts = len(found.fidelities), len(found.distributions), len(found.absences)
    assert counts >= (544, 104, 30)
    for path in paths:
        rows = [
            row
            for row in [*found.fidelities, *found.distributions, *found.absences]
            if row.model == path.stem
        ]
        ordered = [row.model_dump_json() for row in sorted(rows, key=key_of)]
        assert path.read_text().splitlines() == ordered


def test_git_keeps_numbers_alone():
    told = (COMMITTED / ".gitignore").read_text().splitlines()
    assert [line for line in told if not line.startswith("#")] == ["*", "!.gitignore", "!*.jsonl"]
