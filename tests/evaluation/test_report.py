import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frdiff.evaluation.page.analysis_figures import analysis_paths
from frdiff.evaluation.page.report import write_report
from frdiff.evaluation.results.files import add_result, key_of, read_results, strip_path
from frdiff.evaluation.results.summary import rows_of, standings
from made_results import fidelity

BENCH = Path(__file__).parents[2] / "bench"
FULL = "fewer steps, DPM-Solver++"


def test_a_model_whose_name_begins_like_another_has_its_own_analysis(tmp_path):
    for model in ("toy", "toy-dit"):
        add_result(tmp_path, fidelity(FULL, "25 steps", 100, 50.0, model=model))
        for path in analysis_paths(tmp_path, model):
            Image.new("RGB", (8, 8)).save(path)
    write_report(tmp_path, tmp_path / "page")
    page = (tmp_path / "page/index.html").read_text()
    for part in ("similarity", "spectrum", "price"):
        assert page.count(f"<figcaption>{part}</figcaption>") == 2


def test_a_setting_is_chosen_on_some_pictures_and_reported_on_the_others():
    def drawn(setting, first, second):
        result = fidelity("frdiff", setting, 40, 0.0)
        return result.model_copy(update={"psnr_converged": [first, second] * 2})

    lucky, good = drawn("lucky", 60.0, 30.0), drawn("good", 50.0, 50.0)
    results = [
        fidelity(FULL, "25 steps", 100, 50.0),
        fidelity(FULL, "8 steps", 40, 40.0),
        lucky,
        good,
    ]
    (ours,) = (row for row in standings(results) if row.name == "frdiff")
    assert ours.best[2.0].result.setting == "lucky" and ours.best[2.0].psnr == 30.0
    assert ours.best[2.0].above == -10.0
    assert ours.best[3.0] is None


def test_above_fewer_steps_at_equal_time_and_at_equal_macs():
    slow = fidelity("frdiff", "x", 40, 45.0, seconds=70)
    results = [fidelity(FULL, "25 steps", 100, 50.0), fidelity(FULL, "8 steps", 40, 40.0), slow]
    row = next(row for row in rows_of(results) if row.group == "frdiff")
    # Fewer steps have 40 dB at 40 of the seconds or MACs, 45 at 70.
    assert abs(row.above) < 1e-9 and abs(row.above_macs - 5.0) < 1e-9


def test_each_guidance_of_a_model_has_a_section_and_a_table(tmp_path):
    for guidance in (2.0, 7.5):
        for family, speed in ((FULL, 100), (FULL, 40), ("tuned", 40)):
            made = fidelity(family, f"{speed} of the time", speed, speed / 2, model="emoji")
            setup = made.setup.model_copy(update={"guidance": guidance})
            add_result(tmp_path, made.model_copy(update={"setup": setup}))
    report = write_report(tmp_path, tmp_path / "page")
    names = ["emoji, guidance 2", "emoji, guidance 7.5"]
    assert list(report.families) == names and not report.errors
    tables = (tmp_path / "page/standings.md").read_text()
    assert [line for line in tables.splitlines() if line.startswith("##")] == [
        f"## {name}" for name in names
    ]
    # 20 dB at 0.4 of the seconds, as fewer steps have.
    cell = "20.0 [20.0, 20.0] (+0.0): 40 of the time"
    assert tables.count(f"| **tuned** | {cell} | {cell} | - |") == 2
    pictures = {path.name for path in (tmp_path / "page").glob("*psnr-time.png")}
    assert pictures == {"emoji-psnr-time.png", "emoji-7.5-psnr-time.png"}


@pytest.mark.slow
def test_the_page_of_what_is_committed_is_light_with_all_its_pictures(tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "results"
    folder.mkdir()
    for path in (BENCH / "results").glob("*.jsonl"):
        (folder / path.name).write_bytes(path.read_bytes())
    for result in read_results(folder).fidelities:
        # Six pictures of coarse noise, which are larger than any drawing.
        small = Image.fromarray(generator.integers(0, 256, (8, 48, 3), dtype=np.uint8))
        path = strip_path(folder, key_of(result))
        path.parent.mkdir(exist_ok=True)
        small.resize((384, 64), Image.Resampling.BICUBIC).save(path)
    for model in ("digits", "emoji", "emoji-dit"):
        for path in analysis_paths(folder, model):
            small = Image.fromarray(generator.integers(0, 256, (90, 130, 3), dtype=np.uint8))
            small.resize((1300, 900), Image.Resampling.BICUBIC).save(path)
    report = write_report(folder, tmp_path / "page", BENCH / "gpu.json")
    page = report.page.read_text()
    assert not report.errors and page.count("data:image/webp") > 100
    assert len(page.encode()) <= 3_000_000
    # Rows of both kinds of hardware, with what they were measured in.
    assert "NVIDIA H200, bfloat16" in page and "AMD EPYC, 2 threads, float32" in page
    # Figures that documents quote, see README: the best cache at 2x against fewer steps.
    below = {
        name: next(row.best[2.0].above for row in rows if row.name == "peer")
        for name, rows in report.groups.items()
    }
    assert {name: f"{above:.1f}" for name, above in below.items()} == {
        "digits": "-9.0",
        "emoji, guidance 2": "-8.7",
        "emoji-dit, guidance 1.5": "-9.1",
    }


def test_a_picture_that_is_none_costs_itself(tmp_path):
    results = [fidelity(family, "12 steps", 48, 50.0) for family in (FULL, "frdiff")]
    for number, result in enumerate(results):
        add_result(tmp_path, result)
        path = strip_path(tmp_path, key_of(result))
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
        if number:
            path.write_bytes(path.read_bytes()[:40])
    report = write_report(tmp_path, tmp_path / "page")
    (error,) = report.errors
    assert key_of(results[1]) in error and report.page.read_text().count("data:image/webp") == 1


def test_a_result_on_another_machine_has_a_place_of_its_own(tmp_path):
    here = fidelity(FULL, "25 steps", 100, 50.0)
    there = here.setup.model_copy(update={"device": "cuda", "dtype": "bfloat16"})
    add_result(tmp_path, here)
    add_result(tmp_path, here.model_copy(update={"setup": there}))
    report = write_report(tmp_path, tmp_path / "page")
    assert list(report.groups) == ["toy", "toy, cuda bfloat16"] and not report.errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": [{}]}, "rows.0.case: Field required"),
        ({"dtype": None}, "dtype: "),
        ({"rows": "x"}, "rows: "),
        ({"more": 1}, "more: Extra inputs"),
    ],
)
def test_gpu_rows_that_are_none_are_named(tmp_path, change, said):
    add_result(tmp_path, fidelity(FULL, "25 steps", 100, 50.0))
    gpu = tmp_path / "gpu.json"
    gpu.write_text(json.dumps(json.loads((BENCH / "gpu.json").read_text()) | change))
    (error,) = write_report(tmp_path, tmp_path / "page", gpu).errors
    assert error.startswith(f"{gpu}: ") and said in error


def test_a_full_run_that_is_lost_costs_no_other_result(tmp_path):
    path = tmp_path / "emoji.jsonl"
    lines = (BENCH / "results/emoji.jsonl").read_text().splitlines()
    full = [
        line
        for line in lines
        if '"kind":"fidelity"' in line
        and '"family":"fewer steps, DPM-Solver++","setting":"25 steps"' in line
    ]
    path.write_text("\n".join(line for line in lines if line not in full) + "\n")
    report = write_report(tmp_path, tmp_path / "page")
    assert len(full) == 1 and report.settings == 174 and not report.errors
