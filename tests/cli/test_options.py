"""Options that exclude or need one another say so, and nothing is drawn."""

import json

import pytest

import frdiff
from command_line import run, the_line
from frdiff.cli.shared import size_in_bytes
from frdiff.cli.tune import scale_or_range

GENERATE = ["generate", "FOLDER", "1"]
FILE = [*GENERATE, "--policy", "policy.json"]
TUNE = ["tune", "FOLDER", "1"]
GATES = [*TUNE, "--speedup", "2", "--method", "gates"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frdiff.UniformPolicy(2).save("policy.json")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([*FILE, "--interval", "5"], "--interval does not go with --policy"),
        ([*FILE, "--bias", "0.5", "--tau", "9"], "--bias and --tau do not go with --policy"),
        ([*FILE, "--mixing"], "--mixing does not go with --policy"),
        ([*FILE, "--no-mixing"], "--no-mixing does not go with --policy"),
        ([*FILE, "--forecast", "1"], "--forecast does not go with --policy"),
        ([*FILE, "--targets", "all"], "--targets does not go with --policy"),
        ([*FILE, "--align", "end"], "--align does not go with --policy"),
        ([*FILE, "--jumps"], "--jumps does not go with --policy"),
        ([*FILE, "--crowding", "2"], "--crowding does not go with --policy"),
        ([*FILE, "--compare", "--paper", "--bias", "0.4"], "--bias does not go with --policy"),
        ([*GENERATE, "--jumps", "--targets", "all"], "--targets does not go with --jumps"),
        ([*GENERATE, "--jumps", "--no-mixing"], "--no-mixing does not go with --jumps"),
        ([*GENERATE, "--jumps", "--align", "end"], "--align does not go with --jumps"),
        ([*GENERATE, "--no-mixing", "--bias", "0.4"], "--bias does not go with --no-mixing"),
        ([*GENERATE, "--no-mixing", "--tau", "9"], "--tau does not go with --no-mixing"),
        ([*GENERATE, "--crowding", "1"], "--crowding goes with --jumps"),
        ([*GENERATE, "--checked"], "--checked goes with --jumps"),
        ([*GENERATE, "--paper"], "--paper goes with --compare"),
        ([*GENERATE, "--repeats", "3"], "--repeats goes with --compare"),
        ([*GENERATE, "--paper", "--converged", "9"], "--paper and --converged go with --compare"),
        (TUNE, "give one of --speedup, --budget, --min-psnr and --pareto"),
        ([*TUNE, "--speedup", "2", "--budget", "0.5"], "got --speedup and --budget"),
        ([*TUNE, "--min-psnr", "40", "--pareto"], "got --min-psnr and --pareto"),
        ([*GATES, "--allow-scheduler"], "--allow-scheduler does not go with --method gates"),
        ([*GATES, "--evaluations", "9"], "--evaluations does not go with --method gates"),
        ([*GATES, "--vary", "reuse"], "--vary does not go with --method gates"),
        (["inspect", "FOLDER", "--guidance", "2"], "--guidance does not go with a model"),
        ([*GATES, "--tensorboard", "log"], "--tensorboard does not go with --method gates"),
        (
            [*TUNE, "--speedup", "2", "--vary", "jumps", "--targets", "all"],
            "--targets does not go with --vary without reuse",
        ),
        (
            [*TUNE, "--speedup", "2", "--vary", "jumps", "--overhead", "0"],
            "--overhead does not go with --vary without reuse",
        ),
        ([*TUNE, "--speedup", "2", "-o", "."], ". is a folder; choose a file"),
        ([*TUNE, "--pareto", "-o", "policy.json"], "policy.json is a file; --pareto writes"),
        ([*TUNE, "--speedup", "2", "-o", "policy.json/x"], "policy.json is a file"),
        ([*TUNE, "--speedup", "2", "--journal", "."], ". is a folder; choose a file"),
        (["fit", "FOLDER", "policy.json", "1"], "give --max-memory, such as 200MiB"),
        (["inspect", "policy.json", "--targets", "all"], "--targets does not go with a policy"),
        (["inspect", "policy.json", "--forecast", "1"], "--forecast does not go with a policy"),
        (["inspect", "FOLDER", "--steps", "20"], "--steps does not go with a model"),
        (["inspect", "FOLDER", "--picture", "a.png"], "--picture does not go with a model"),
        (["bench", "digits", "--inception"], "--inception goes with --all"),
        (["bench", "digits", "--samples", "64"], "--samples goes with --all"),
        (["bench", "digits", "--guidance", "2"], "DDIMPipeline takes no guidance"),
        (["analyze", "digits", "--guidance", "2"], "DDIMPipeline takes no guidance"),
        (["tune", "digits", "--speedup", "2", "--guidance", "2"], "takes no guidance"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_together(arguments, text, folder, place):
    before = set(place.rglob("*"))
    result = run(*[folder if argument == "FOLDER" else argument for argument in arguments])
    assert text in the_line(result)
    assert set(place.rglob("*")) == before


def test_the_papers_policy_has_an_interval_beside_a_file(folder, place):
    options = ["--steps", 12, "--compare", "--paper", "--interval", 3, "--repeats", 1]
    result = run("generate", folder, "1", "--policy", "policy.json", *options)
    assert result.exit_code == 0, result.output
    assert "paper" in result.output


@pytest.mark.parametrize("scale", ["8-2", "2-2", "high", "2-", "1-2-3", "1.2.3"])
def test_a_guidance_that_is_no_scale_and_no_range_is_refused(scale, folder, place):
    arguments = ["tune", folder, "1", "--speedup", "2", "--guidance", scale]
    assert f"such as 2-8, got {scale}" in the_line(run(*arguments), status=2)


def test_a_guidance_is_a_scale_or_a_range():
    assert scale_or_range("7.5") == 7.5
    assert scale_or_range("2-8") == (2.0, 8.0)


@pytest.mark.parametrize("size", ["200 MB", "much", "-1MiB", "1.2.3", "", "1e9"])
def test_a_size_that_is_none_is_refused(size, folder, place):
    arguments = ["generate", folder, "1", f"--max-memory={size}"]
    assert "a size is a number with B, KiB, MiB or GiB" in the_line(run(*arguments), status=2)


def test_sizes_are_bytes():
    sizes = [size_in_bytes(text) for text in ("4096", "1KiB", "1.5 MiB", "2GiB", "7B")]
    assert sizes == [4096, 1024, 1.5 * 2**20, 2 * 2**30, 7]


def test_a_policy_is_refused_made_to_fit_and_drawn(folder, place):
    size = ["--max-memory", "3KiB"]
    drawing = ["generate", folder, "1", "--policy"]
    frdiff.UniformPolicy(2, forecast=1, targets="all", mixing=False).save("large.json")
    assert "max_bytes allows 0.00 MiB" in the_line(run(*drawing, "large.json", *size))
    result = run("fit", folder, "large.json", "1", "2", *size, "--steps", "6", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["policy"] == "large.small.json" and found["changed"]
    result = run(*drawing, found["policy"], *size, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bank_bytes_peak"] <= 3 * 1024
