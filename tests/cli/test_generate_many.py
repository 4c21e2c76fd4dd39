import json

import pytest

from command_line import run, the_line

POLICY = ["--jumps", "--interval", 2, "--steps", 10]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("1\n2\n3\n")
    return path


def test_a_file_of_prompts_gives_a_picture_a_line(prompts, tmp_path):
    asked = ["generate", "digits", "--prompts", prompts, *POLICY, "--output", tmp_path / "out"]
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "3 pictures drawn, 0 were there" in result.output and "per second" in result.output
    found = json.loads(run(*asked, "--json").stdout)
    assert (found["drawn"], found["there"], found["failures"]) == ({}, 3, {})
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_what_failed_is_said_and_the_exit_status_tells(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("3\nno such class\n")
    asked = ["--prompts", path, *POLICY, "--batch", 1, "--output", tmp_path / "out"]
    result = run("generate", "emoji-dit", *asked)
    assert result.exit_code == 1
    assert "lines from 2 on failed: ValueError" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["red apple", "--prompts", "FILE"], "does not go with --prompts"),
        (["--prompts", "FILE", "--compare"], "--compare does not go with --prompts"),
        (["red apple", "--workers", 2], "--workers"),
        (["--prompts", "FILE", "--engine", "dask"], "engine must be one of"),
        (["--prompts", "FILE", "--resources-per-worker", "GPU"], "give amounts such as GPU=1"),
        (["--prompts", "FILE", "--address", "auto"], 'engine="ray" alone'),
        ([], "give prompts, or a file of them"),
    ],
)
def test_bad_input_is_refused(prompts, tmp_path, options, said):
    options = [prompts if option == "FILE" else option for option in options]
    result = run("generate", "digits", *options, *POLICY, "--output", tmp_path / "none")
    assert said in " ".join(result.output.split()) and result.exit_code != 0
    assert not (tmp_path / "none").exists()


def test_an_empty_line_is_named_before_anything_is_drawn(prompts, tmp_path):
    prompts.write_text("1\n\n")
    asked = ["--prompts", prompts, *POLICY, "--output", tmp_path / "none"]
    assert "line 2" in the_line(run("generate", "digits", *asked))
    assert not (tmp_path / "none").exists()
