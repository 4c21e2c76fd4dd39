import json

import pytest

from command_line import run
from frdiff.evaluation.results.files import add_result, results_path
from made_results import fidelity


def test_a_report_of_nothing_says_so(tmp_path):
    result = run("report", tmp_path, "--output", tmp_path / "page")
    assert result.exit_code == 1 and "no results in" in " ".join(result.stderr.split())
    assert not (tmp_path / "page").exists()


def test_a_report_names_what_it_left_out(tmp_path):
    full = fidelity("fewer steps, DPM-Solver++", "25 steps", 100, 50.0)
    add_result(tmp_path, full)
    (tmp_path / "broken.jsonl").write_text("[1, 2")
    result = run("report", tmp_path, "--output", tmp_path / "page", "--json")
    content = json.loads(result.stdout)
    assert content["groups"]["toy"][0]["best"]["1.5"] is None
    assert content["settings"] == 1 and (tmp_path / "page/index.html").is_file()
    assert "broken.jsonl, line 1" in content["errors"][0]
    assert "left out: " in result.stderr


@pytest.mark.slow
def test_a_bench_stops_at_its_budget(tmp_path):
    result = run(
        "bench", "digits", "--pictures", 16, "--budget-minutes", 0, "--results", tmp_path, "--json"
    )
    assert json.loads(result.stdout)["left"] > 10
    assert not results_path(tmp_path, "digits").exists()


@pytest.mark.slow
def test_analysis_says_what_it_found(tmp_path):
    result = run(
        "analyze", "digits", "--steps", 10, "--pictures", 1, "--results", tmp_path, "--json"
    )
    found = json.loads(result.stdout)
    assert len(found["findings"]) == len(found["pictures"]) == 3
    assert sorted(found["pictures"]) == sorted(map(str, tmp_path.glob("analysis-digits-*.png")))
    assert len(found["prices"]) == len(found["similarities"]) > 5
