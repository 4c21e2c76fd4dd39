import json

import pytest
from PIL import Image

import frdiff
from command_line import run
from frdiff.cli.tune import FOUND_BY
from frdiff.policy import RangePolicy

FAST = ["--interval", "3", "--no-mixing", "--forecast", "1", "--targets", "residual"]
pytestmark = pytest.mark.filterwarnings("ignore:a run of:UserWarning")


def test_generate_writes_a_picture_and_prints_the_stats(folder, tmp_path):
    result = run("generate", folder, "1", "2", "--steps", 12, *FAST, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert "12 steps: 4 keyframes, 8 reuse, 0 jumps" in result.output
    with Image.open(tmp_path / "pictures.png") as picture:
        assert picture.width > 256


def test_generate_json(folder, tmp_path):
    result = run("generate", folder, "1", "--steps", 12, *FAST, "--output", tmp_path, "--json")
    stats = json.loads(result.stdout)
    assert (stats["keyframes"], stats["reuse_steps"]) == (4, 8)
    assert 0 < stats["macs_ratio"] < 1


def test_generate_by_jumps_alone(folder, tmp_path):
    options = ["--steps", 13, "--scheduler", "dpm++karras", "--output", tmp_path]
    result = run("generate", folder, "1", "--jumps", "--crowding", 1.3, *options)
    assert result.exit_code == 0, result.output
    assert "13 steps: 7 keyframes, 0 reuse, 6 jumps" in result.output


def test_compare_has_full_ours_fewer_steps_and_the_paper(folder, tmp_path):
    options = ["--compare", "--paper", "--repeats", 1, "--output", tmp_path, "--json"]
    result = run("generate", folder, "1", "--steps", 12, *FAST, *options)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    names = ["full", "frdiff", "fewer steps", "paper"]
    assert [row["name"] for row in rows] == names
    assert rows[2]["steps"] == round(12 * rows[1]["macs_ratio"])
    assert json.loads((tmp_path / "table.json").read_text())[1]["steps"] == 12
    with Image.open(tmp_path / "side_by_side.png") as picture:
        assert picture.height == 26 + 4 * 128


def test_compare_prints_a_table(folder, tmp_path):
    options = ["--compare", "--repeats", 1, "--scheduler", "dpm++", "--output", tmp_path]
    result = run("generate", folder, "1", "--steps", 12, *FAST, *options)
    assert result.exit_code == 0, result.output
    for word in ("speed-up", "PSNR", "MiB", "±0%", "DPMSolverMultistepScheduler"):
        assert word in result.output
    assert "…" not in result.output


def test_policy_file_brings_its_step_count(folder, tmp_path):
    path = tmp_path / "policy.json"
    frdiff.KeyframePolicy(14, [0, 5, 9], targets="residual").save(path)
    result = run("generate", folder, "1", "--policy", path, "--output", tmp_path, "--json")
    assert json.loads(result.stdout)["steps"] == 14


def test_inspect_model(folder):
    result = run("inspect", folder, "--json")
    (cost,) = json.loads(result.stdout).values()
    assert len(cost["targets"]) == 2
    assert cost["reuse_ratio"] == cost["reuse_macs"] / cost["macs"]
    result = run("inspect", folder, "--targets", "*.attn1,*.ff")
    assert "transformer_blocks.1.ff" in result.output
    assert "reuse ratio" in result.output


def test_inspect_shows_the_table_of_a_range_at_a_guidance(tmp_path):
    path = tmp_path / "policy.json"
    tables = [
        frdiff.TablePolicy(
            2, [(0,)] * 2, targets=(), sample_weights=[weight] * 2, noise_levels=[1.0, 0.0]
        )
        for weight in (0.1, 0.3)
    ]
    RangePolicy([2.0, 8.0], tables).save(path)
    rows = json.loads(run("inspect", path, "--json").stdout)["plan"]
    assert [row["sample_weight"] for row in rows] == pytest.approx([0.2, 0.2])
    assert [row["noise_level"] for row in rows] == pytest.approx([2.71828, 1], rel=1e-5)
    output = run("inspect", path, "--guidance", 8).output
    assert "0.300" in output and "2.718" in output


def test_inspect_policy(tmp_path):
    path = tmp_path / "policy.json"
    frdiff.UniformPolicy(2).save(path)
    rows = json.loads(run("inspect", path, "--steps", 50, "--json").stdout)["plan"]
    assert [row["action"] for row in rows].count("jump") == 11
    assert rows[25]["action"] == "reuse"
    assert rows[25]["mixing_weight"] == 0.5
    output = run("inspect", path, "--steps", 50).output
    assert "policy.json: 50 steps" in output and "0.500" in output
    frdiff.JumpPolicy(2).save(path)
    output = run("inspect", path, "--steps", 12).output
    assert "keyframe" in output and "mixing" not in output and "groups" not in output


def test_policy_for_another_step_count(folder, tmp_path):
    path = tmp_path / "policy.json"
    frdiff.KeyframePolicy(14, [0, 5]).save(path)
    result = run("generate", folder, "1", "--policy", path, "--steps", 20)
    assert result.exit_code == 1
    assert "resample(20)" in result.stderr


def test_help_names_every_option(monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    wanted = {
        "generate": "--policy --interval --bias --forecast --targets --steps --scheduler "
        "--guidance --seed --compare --json",
        "inspect": "--targets --forecast --steps --json",
    }
    for command, options in wanted.items():
        output = run(command, "--help").output
        assert all(option in output for option in options.split())


def test_json_is_strict(folder, tmp_path):
    options = ["--compare", "--repeats", 1, "--output", tmp_path, "--json"]
    result = run("generate", folder, "1", "--steps", 12, *FAST, *options)
    assert json.loads(result.stdout, parse_constant=pytest.fail)["rows"][0]["psnr"] is None


TUNE = ["--steps", 12, "--samples", 2, "--evaluations", 4]


def test_tune_writes_a_policy_that_generate_and_inspect_take(folder, tmp_path):
    file, picture = tmp_path / "policy.json", tmp_path / "policy.png"
    chosen = ["--speedup", 2, "--allow-scheduler", "--output", file]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("1\n2\n3\n")
    result = run("tune", folder, "--prompts", prompts, *TUNE, "--guidance", 3, *chosen)
    assert result.exit_code == 0, result.output
    policy = frdiff.load_policy(file)
    call = f"num_inference_steps={policy.origin.num_inference_steps}, guidance_scale=3)"
    assert call in result.output and f"{policy.origin.figures['full_held_out_db']:.1f}" in (
        result.output
    )
    assert FOUND_BY[policy.origin.found_by] in result.output
    assert file.with_suffix(".journal").is_file()
    result = run("generate", folder, "1", "--policy", file, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{policy.num_steps} steps: " in result.output
    # At the guidance that it was tuned at, which is not the pipeline's default.
    assert "not tuned for this run" not in result.output + result.stderr
    result = run("inspect", file, "--picture", picture)
    assert result.exit_code == 0, result.output
    assert "DiTTransformer2DModel" in result.output
    with Image.open(picture) as drawn:
        assert drawn.width > 500


def test_a_policy_for_a_range_is_written_and_taken(folder, tmp_path, monkeypatch):
    file = tmp_path / "policy.json"
    chosen = ["--speedup", 2, "--guidance", "1.5-4", "--evaluations", 1, "--output", file]
    tune, found = frdiff.search.tune, []

    def two_tables(*args, **kwargs):
        policy = tune(*args, **kwargs)
        tables = policy.tables if isinstance(policy, frdiff.RangePolicy) else [policy, policy]
        found.append(frdiff.RangePolicy((1.5, 4.0), [tables[0], tables[-1]], policy.origin))
        return found[0]

    monkeypatch.setattr(frdiff.search, "tune", two_tables)
    result = run("tune", folder, "1", "2", "3", *TUNE, *chosen)
    assert result.exit_code == 0, result.output
    assert frdiff.load_policy(file) == found[0] and found[0].origin.guidance == (1.5, 4)
    drawn = ["generate", folder, "1", "--policy", file, "--output", tmp_path]
    inside, outside = (run(*drawn, "--guidance", scale) for scale in (2, 6))
    assert inside.exit_code == 0, inside.output
    assert "not tuned for this run" in outside.output + outside.stderr
    assert "not tuned for this run" not in inside.output + inside.stderr


def test_prompts_are_given_once(folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("1\n")
    result = run("tune", folder, "2", "--prompts", prompts, *TUNE, "--speedup", 2)
    assert result.exit_code == 1 and "the file has them" in result.stderr


def test_tune_json_names_file_and_figures(folder, tmp_path):
    chosen = ["--pareto", "--output", tmp_path / "front", "--json"]
    result = run("tune", folder, "1", "2", *TUNE, *chosen)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["policy"] for row in rows] == [
        str(tmp_path / "front" / f"speedup-{speedup:g}.json") for speedup in frdiff.search.PARETO
    ]
    assert all(row["held_out_db"] >= row["fewer_steps_held_out_db"] for row in rows)


def test_tune_logs_to_tensorboard(folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = tmp_path / "log"
    chosen = ["--speedup", 2, "--tensorboard", log, "--output", tmp_path / "policy.json"]
    result = run("tune", folder, "1", "2", *TUNE, *chosen)
    assert result.exit_code == 0, result.output
    events = EventAccumulator(str(log)).Reload()
    glance, rival = events.Scalars("quality/fewer steps")  # on half the samples, and on all
    policy = frdiff.load_policy(tmp_path / "policy.json")
    assert events.Scalars("cost/fewer steps")[0].value == pytest.approx(
        policy.origin.figures["fewer_steps_cost"], rel=1e-4
    )
    assert glance.value > 0 and rival.value > 0
    assert len(events.Scalars("quality/shape")) >= 1


def test_a_picture_has_weights_where_a_policy_says_them(tmp_path):
    heights = []
    for policy in (frdiff.JumpPolicy(2), frdiff.KeyframePolicy(13, range(0, 13, 2), [0.0] * 13)):
        policy.save(tmp_path / "policy.json")
        options = ["--steps", 13, "--picture", tmp_path / "policy.png"]
        result = run("inspect", tmp_path / "policy.json", *options)
        assert result.exit_code == 0, result.output
        with Image.open(tmp_path / "policy.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1]
