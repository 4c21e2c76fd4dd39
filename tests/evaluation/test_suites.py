from dataclasses import replace

import pytest

import frdiff
import frdiff.evaluation.runner as runner
from conftest import make_dit_pipe
from frdiff.evaluation.measure import Setup
from frdiff.evaluation.methods import fewer_steps, paper, solver_label
from frdiff.evaluation.page.report import write_report
from frdiff.evaluation.results.files import read_results
from frdiff.evaluation.runner import Bench, measure_all
from frdiff.evaluation.suites import DIFFUSION, FLOW, suite_behind, suite_of
from frdiff.models import INPUTS


def test_a_scheduler_is_called_what_readers_call_it():
    assert solver_label("dpm++karras") == "DPM-Solver++ Karras"
    assert solver_label("flow-euler") == "Euler"
    assert solver_label("flow-dpm++-beta") == "DPM-Solver++ beta"
    assert solver_label("flow-unipc-shift-1.5") == "UniPC shift 1.5"


def test_each_kind_of_pipeline_has_its_suite():
    assert suite_of(make_dit_pipe()) is DIFFUSION
    assert suite_of(frdiff.load_model("emoji-flow")) is FLOW


@pytest.mark.slow
def test_flow_matching_is_measured_by_its_own_suite(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "AGREEMENT_DB", 0.0)
    setup = Setup(
        ("red heart", "green heart", "penguin", "wolf"),
        batch=2,
        guidance=4.0,
        timed=1,
        full=FLOW.full,
        reference=replace(FLOW.reference, steps=20),
        inputs=INPUTS["emoji-flow"],
    )
    bench = Bench("emoji-flow", frdiff.load_model("emoji-flow"), setup, tmp_path)
    methods = [
        *fewer_steps("flow-heun-beta", (7,)),
        paper("flow-euler", FLOW.full.steps, 2),
        *(row for row in FLOW.peers() if row.peer == "taylorseer" and row.setting == "interval 2"),
    ]
    assert measure_all(bench, methods) == 0
    rows = {row.family: row for row in read_results(tmp_path).fidelities}
    assert rows["fewer steps, Heun beta"].nfe == 13
    assert rows["paper, Euler 28"].macs < rows["fewer steps, Euler"].macs
    # Both streams are cached: a step in two costs next to nothing.
    taylor = rows["TaylorSeer (diffusers)"]
    assert taylor.macs < 0.7 * taylor.macs_full
    assert suite_behind(rows["paper, Euler 28"].setup) is FLOW
    write_report(tmp_path, tmp_path / "page")
    page = (tmp_path / "page/index.html").read_text()
    assert "full run: 28 steps of Euler" in page and "20 steps of Heun beta" in page
