import json

import pytest
import torch
from PIL import Image

from command_line import run, the_line
from frdiff import load_policy
from frdiff.frames import FramePolicy, StyleGenerator

SHORT = ["--frames", 12, "--rounds", 1]


def test_a_walk_is_drawn_beside_the_full_one(folder, tmp_path):
    result = run("walk", folder, "1", "2", *SHORT, "--interval", 3, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    for word in ("full", "frdiff", "pixels interpolated", "flicker"):
        assert word in result.output
    assert load_policy(tmp_path / "walk.json") == FramePolicy(3)
    with Image.open(tmp_path / "walk.gif") as clip:
        assert clip.width == 3 * 128 + clip.width % 128


def test_json_and_a_policy_file(folder, tmp_path):
    policy = FramePolicy(2, 1, ())
    policy.save(tmp_path / "policy.json")
    options = ["--policy", tmp_path / "policy.json", "--output", tmp_path, "--json"]
    result = run("walk", folder, "1", "2", *SHORT, *options)
    rows = json.loads(result.stdout)["rows"]
    assert [row["name"] for row in rows] == ["full", "frdiff", "pixels interpolated"]
    assert rows[1]["psnr"] == pytest.approx(rows[2]["psnr"])  # they are the same


def test_a_policy_is_found_for_a_speed(folder, tmp_path):
    options = ["--speedup", 2, "--output", tmp_path, "--json"]
    result = run("walk", folder, "1", "2", *SHORT, *options)
    assert json.loads(result.stdout)["rows"][1]["macs_ratio"] <= 1.05 / 2 + 1 / 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["1"], "a walk needs two ends or more"),
        (["1", "2", "--order", 5], "order must be from 0 to 3"),
        (["1", "2", "--speedup", 2, "--order", 1], "--order"),
        (["1", "2", "--placing", "odd"], "placing must be one of"),
    ],
)
def test_bad_input_is_refused(folder, tmp_path, options, said):
    result = run("walk", folder, *options, "--output", tmp_path / "none")
    assert said in result.output and result.exit_code != 0
    assert not (tmp_path / "none").exists()


def test_a_pipeline_without_a_vae_is_refused():
    assert "has no VAE" in the_line(run("walk", "digits", "1", "2"))


def test_a_generator_walks_between_its_anchors(tmp_path):
    torch.manual_seed(0)
    StyleGenerator(8, 16, (8, 8), num_anchors=3).save_pretrained(tmp_path)
    (tmp_path / "captions.json").write_text(json.dumps(["apple", "bear", "cup"]))
    options = [*SHORT, "--targets", "none", "--output", tmp_path / "clip", "--json"]
    result = run("walk", tmp_path, "apple", "cup", *options)
    rows = json.loads(result.stdout)["rows"]
    assert rows[1]["macs_ratio"] == pytest.approx(7 / 12)
    said = the_line(run("walk", tmp_path, "apple", "blue apple"))
    assert "knows no blue apple" in said and "cup" in said


def test_a_folder_must_name_the_anchors(tmp_path):
    StyleGenerator(8, 16, (8, 8), num_anchors=3).save_pretrained(tmp_path)
    (tmp_path / "captions.json").write_text("[]")
    assert "must name 3 anchors" in the_line(run("walk", tmp_path, "apple", "cup"))
