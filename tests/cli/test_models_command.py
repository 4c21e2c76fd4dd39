import json

import pytest

import frdiff
from command_line import run, the_line


def test_models_prints_a_table():
    result = run("models", "DiT-XL/2")
    assert result.exit_code == 0, result.output
    for word in ("DiT-XL/2", "256 px", "118.7", "28/0.644/16", "residual"):
        assert word in result.stdout
    assert "reuse ratio" in result.stderr


def test_models_json():
    rows = json.loads(run("models", "DiTTransformer2DModel", "--json").stdout)
    assert [row["name"] for row in rows] == ["DiT-XL/2", "DiT-XL/2 512"]
    assert rows[0]["sets"]["residual"]["targets"] == 2 * 28
    assert rows[1]["macs"] > 4 * rows[0]["macs"]


def test_models_markdown_has_the_columns_explained():
    text = run("models", "DiT-XL/2", "--markdown").stdout
    assert text.startswith("# ") and "| DiT-XL/2 | `DiTTransformer2DModel` | 256 px | 1 |" in text


def test_models_refuses_what_is_no_model():
    assert "no model or denoiser class 'SDXXL'; did you mean SDXL" in the_line(
        run("models", "SDXXL")
    )
    assert "choose one" in the_line(run("models", "--json", "--markdown"))


def test_inspect_predicts_for_a_full_size():
    options = ["--targets", "residual", "--interval", 4, "--steps", 20]
    result = run("inspect", "--model-class", "DiT-XL/2", *options)
    assert result.exit_code == 0, result.output
    assert "20 steps: 5 keyframes, 15 reuse, 0 jumps" in result.stdout
    assert "predicted speed-up 3.97x" in result.stdout


def test_inspect_predicts_for_a_policy_file(tmp_path):
    path = tmp_path / "policy.json"
    frdiff.KeyframePolicy(12, [0, 5, 9], targets="residual").save(path)
    command = ["inspect", "--model-class", "DiT-XL/2", "--policy", path, "--json"]
    (found,) = json.loads(run(*command).stdout)
    assert (found["keyframes"], found["reuse_steps"]) == (3, 9)
    assert found["speedup"] == pytest.approx(found["macs_full"] / found["macs"])
    assert "made for 12 steps" in the_line(run(*command[:-1], "--steps", 20))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["inspect"], "--model-class, one of the two"),
        (["inspect", "emoji", "--model-class", "SDXL"], "--model-class, one of the two"),
        (["inspect", "emoji", "--interval", 3], "--interval goes with --model-class"),
        (["inspect", "--model-class", "SDXL", "--picture", "x.png"], "--picture does not go with"),
        (["inspect", "--model-class", "SDXL", "--policy", "x", "--interval", 3], "--interval does"),
        (["inspect", "--model-class", "nothing"], "no model or denoiser class 'nothing'"),
    ],
)
def test_inspect_says_what_does_not_go_together(command, words):
    assert words in the_line(run(*command))
