"""Pictures of many prompts are the same files, whoever draws them and however often it stops."""

import hashlib
import json
import pickle
from dataclasses import replace

import pytest

import frdiff
from engine_work import load_digits
from frdiff.engines import Place, WorkError
from frdiff.pictures import Manifest, Painter, draw_all, read_prompts
from frdiff.pictures.manifest import NAME

PAINTER = Painter("digits", frdiff.JumpPolicy(2), 10)
COUNT = 11


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"number {i}\n" for i in range(COUNT)))
    return path


def draw(prompts, folder, painter=PAINTER, **options):
    return draw_all(painter, prompts, folder, **{"batch": 4, **options})


def files(folder):
    """Contents by name; of the manifest its lines, in order of pictures."""
    found = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    head, *rows = (folder / NAME).read_text().splitlines()
    assert not list(folder.glob("*.tmp"))
    return found, head, sorted(rows, key=lambda row: json.loads(row)["index"])


class Killed(BaseException):
    pass


def test_a_picture_a_line_and_a_line_of_the_manifest_each(prompts, tmp_path):
    report = draw(prompts, tmp_path / "out")
    assert (sum(report.drawn.values()), report.there, report.failures) == (COUNT, 0, {})
    pictures, _, rows = files(tmp_path / "out")
    assert len(pictures) == COUNT
    for i, row in enumerate(map(json.loads, rows)):
        assert (row["index"], row["prompt"], row["seed"]) == (i, f"number {i}", i)
        assert row["sha256"] == hashlib.sha256(pictures[row["file"]]).hexdigest()
    again = draw(prompts, tmp_path / "out")
    assert (again.drawn, again.there) == ({}, COUNT)


@pytest.mark.parametrize("survived", [0, 1, 5, 10])
def test_one_that_was_killed_goes_on_to_the_same_files(prompts, tmp_path, monkeypatch, survived):
    add = Manifest.add

    def die(manifest, *row):
        if len(manifest.entries) == survived:
            with manifest.path.open("a") as file:
                file.write('{"index": ')  # as a kill may leave it
            raise Killed
        add(manifest, *row)

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "add", die)
        with pytest.raises(Killed):
            draw(prompts, tmp_path / "out")
    report = draw(prompts, tmp_path / "out")
    assert sum(report.drawn.values()) == COUNT - survived == COUNT - report.there
    draw(prompts, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_what_was_lost_or_altered_is_drawn_again(prompts, tmp_path):
    folder = tmp_path / "out"
    draw(prompts, folder)
    whole = files(folder)
    (folder / "00000003.png").unlink()
    assert sum(draw(prompts, folder).drawn.values()) == 1
    (folder / "00000007.png").write_bytes(b"altered")
    assert draw(prompts, folder).drawn == {}
    assert sum(draw(prompts, folder, verify=True).drawn.values()) == 1
    assert files(folder)[0] == whole[0]


def test_a_full_disk_loses_nothing_that_was_written(prompts, tmp_path, monkeypatch):
    add = Manifest.add

    def full(manifest, index, *row):
        if index == 5:
            raise OSError(28, "No space left on device")
        add(manifest, index, *row)

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "add", full)
        with pytest.raises(OSError, match="No space left"):
            draw(prompts, tmp_path / "out")
    assert len(files(tmp_path / "out")[0]) == 5
    assert draw(prompts, tmp_path / "out").there == 5


def test_what_fails_is_named_and_the_others_are_drawn(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("3\n5\nno such class\n7\n")
    painter = Painter("emoji-dit", None, 3, guidance=1.5)
    report = draw_all(painter, path, tmp_path / "out", batch=2)
    assert sum(report.drawn.values()) == 2
    assert "no such class" in report.failures[3]
    with pytest.raises(WorkError, match="no picture can be drawn: ValueError"):
        draw_all(replace(painter, policy=_another_length()), path, tmp_path / "bad", batch=1)


def _another_length():
    return frdiff.KeyframePolicy(12, range(0, 12, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", ["local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))]
)
@pytest.mark.filterwarnings("ignore")
def test_two_workers_draw_the_same_files(prompts, tmp_path, engine):
    draw(prompts, tmp_path / "one")
    report = draw(prompts, tmp_path / "two", place=Place(engine, 2))
    assert sum(report.drawn.values()) == COUNT
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_function_may_load_the_pipeline(prompts, tmp_path):
    own = replace(PAINTER, model=load_digits)
    draw(prompts, tmp_path / "own", pickle.loads(pickle.dumps(own)))
    draw(prompts, tmp_path / "named")
    assert files(tmp_path / "own")[0] == files(tmp_path / "named")[0]
    head = json.loads(files(tmp_path / "own")[1])
    assert head["model"] == "engine_work.load_digits"
    with pytest.raises(ValueError, match="which differ in model"):
        draw(prompts, tmp_path / "named", own)


def test_folders_of_other_pictures_are_refused(prompts, tmp_path):
    draw(prompts, tmp_path / "out")
    for other in (
        replace(PAINTER, steps=11),
        replace(PAINTER, seed=1),
        replace(PAINTER, policy=None),
    ):
        with pytest.raises(ValueError, match="is of other pictures"):
            draw(prompts, tmp_path / "out", other)
    with pytest.raises(ValueError, match="is of other pictures, which differ in batch; take"):
        draw(prompts, tmp_path / "out", batch=5)
    prompts.write_text("something else\n")
    with pytest.raises(ValueError, match=r"line 1 says 'something else', but .* the prompts were"):
        draw(prompts, tmp_path / "out")


def test_what_is_no_manifest_is_not_written_over(tmp_path):
    (tmp_path / NAME).write_text("my notes")
    with pytest.raises(ValueError, match="is of other pictures"):
        Manifest(tmp_path, {"a": 1})
    assert (tmp_path / NAME).read_text() == "my notes"
    (tmp_path / NAME).write_text('{"a": 1, "frdiff_pi')  # as a kill may leave it
    assert not Manifest(tmp_path, {"a": 1}).entries


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no json", "line 2"),
        ('{"index": 0}', "line 2"),
        ('{"index": 0, "prompt": "a", "seed": 0, "file": "../a.png", "sha256": ""}', "must be 00"),
        (
            '{"index": true, "prompt": "a", "seed": 0, "file": "00000001.png", "sha256": ""}',
            "index",
        ),
    ],
)
def test_a_manifest_is_never_trusted(tmp_path, line, words):
    Manifest(tmp_path, {"a": 1})
    with (tmp_path / NAME).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=words):
        Manifest(tmp_path, {"a": 1})


def test_files_of_prompts_are_read_as_they_are_needed_and_looked_at(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("first\n\nthird\n")
    lines = read_prompts(path)
    assert next(lines) == "first"
    with pytest.raises(ValueError, match="line 2: a prompt has 1 to 100,000 characters, got 0"):
        next(lines)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        list(read_prompts(path))
