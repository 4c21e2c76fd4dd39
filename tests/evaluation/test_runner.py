import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

import frdiff.evaluation.runner as runner
import frdiff.evaluation.worker as worker
from conftest import make_dit_pipe
from frdiff.engines import Place, engine_of
from frdiff.evaluation.measure import Setup, draw
from frdiff.evaluation.methods import FULL, REFERENCE, Method
from frdiff.evaluation.page.report import write_report
from frdiff.evaluation.results.files import key_of, read_results, results_path, tidy
from frdiff.evaluation.runner import Bench, choose_prompts, measure_all
from frdiff.evaluation.suites import DIFFUSION, FLOW
from frdiff.policy import UniformPolicy
from frdiff.run.applying import apply
from frdiff.sampling import sample, set_scheduler


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A bench of a tiny DiT with two batches of two pictures."""
    # Untrained, its solvers agree on nothing.
    monkeypatch.setattr(runner, "AGREEMENT_DB", 0.0)
    reference = replace(REFERENCE, steps=10)
    setup = Setup(("1", "2", "3", "4"), batch=2, guidance=2.0, timed=1, reference=reference)
    return Bench("tiny", make_dit_pipe(), setup, tmp_path)


@pytest.fixture
def methods():
    policy = UniformPolicy(2, mixing=False, targets="residual")
    return [
        Method("fewer steps, DPM-Solver++", "10 steps", 10),
        Method("frdiff, copy, interval 2", "12 steps", 12, policy=policy),
        Method("paper, DDIM 12", "interval 2", 12, "ddim", UniformPolicy(2)),
    ]


def snapshot(folder):
    return results_path(folder, "tiny").read_bytes().splitlines()


def test_counted_macs_are_those_of_the_policy(bench, methods):
    (drawing,) = draw(bench.pipe, [methods[1]], bench.setup)
    set_scheduler(bench.pipe, "dpm++")
    with apply(bench.pipe, methods[1].policy) as run:
        sample(bench.pipe, ["1", "2"], steps=12, guidance=2.0)
    assert drawing.cost.macs == run.stats.macs == drawing.stats.macs
    assert drawing.cost.peak_bytes > drawing.stats.bank_bytes_peak > 0
    assert len(drawing.seconds) == len(drawing.seconds_full) == 1


def test_pictures_are_those_of_the_pipeline_alone(bench, methods):
    drawings = draw(bench.pipe, methods, bench.setup)
    set_scheduler(bench.pipe, "dpm++")
    for method, drawing in zip(methods[:2], drawings, strict=False):
        with apply(bench.pipe, method.policy) if method.policy else nullcontext():
            first = sample(bench.pipe, ["1", "2"], steps=method.steps, guidance=2.0)
        assert np.array_equal(drawing.images[:2], first)


def test_methods_drawn_together_share_their_full_runs(bench, methods):
    drawings = draw(bench.pipe, methods, replace(bench.setup, timed=5))
    assert {drawing.seconds_full for drawing in drawings} == {drawings[0].seconds_full}
    # Two batches, of which the first is not timed.
    assert all(len(drawing.seconds) == len(drawing.seconds_full) == 1 for drawing in drawings)


def test_the_full_run_is_the_measure(bench, methods):
    assert measure_all(bench, methods) == 0
    results = read_results(bench.folder)
    assert len(results.fidelities) == 4 and not results.errors
    full = next(row for row in results.fidelities if row.steps == FULL.steps)
    assert full.psnr_full == [100.0] * 4 and full.macs == full.macs_full
    fewer = next(row for row in results.fidelities if row.setting == "10 steps")
    assert fewer.macs / fewer.macs_full == pytest.approx(10 / 25)


def test_a_solver_of_second_order_evaluates_twice_a_step_but_for_the_last(bench):
    measure_all(bench, [Method("fewer steps, Heun", "6 steps", 6, "heun")])
    heun = next(row for row in read_results(bench.folder).fidelities if row.steps == 6)
    assert heun.nfe == 11
    assert heun.macs / heun.macs_full == pytest.approx(11 / 25)


def test_what_is_finished_is_skipped(bench, methods):
    measure_all(bench, methods)
    before = snapshot(bench.folder)
    measure_all(bench, methods)
    assert snapshot(bench.folder) == before


def test_a_killed_run_loses_only_what_it_was_at(bench, methods, monkeypatch):
    real = worker.draw

    def killed(pipe, group, setup):
        if any(method.policy for method in group):
            raise KeyboardInterrupt
        return real(pipe, group, setup)

    monkeypatch.setattr(worker, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        measure_all(bench, methods)
    kept = snapshot(bench.folder)
    assert len(kept) == 2
    monkeypatch.setattr(worker, "draw", real)
    measure_all(bench, methods)
    after = snapshot(bench.folder)
    assert len(after) == 4 and after[:2] == kept


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "engine", ["local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))]
)
def test_two_workers_write_the_same_files_but_for_seconds(bench, methods, engine, tmp_path):
    def found(folder):
        results = read_results(folder)
        everything = [*results.fidelities, *results.absences]
        rows = {key_of(row): row.model_dump() for row in everything}
        for row in rows.values():
            if "seconds" in row:
                row["seconds"] = row["seconds_full"] = len(row["seconds"])
        strips = {path.name: path.read_bytes() for path in folder.glob("strips/*.png")}
        with np.load(next((folder / "references").glob("*.npz"))) as kept:
            return rows, strips, {name: kept[name].tobytes() for name in kept}

    failing = Method("FirstBlockCache", "none", 10, peer="firstblock", options=(("none", 1),))
    everything = [*methods, failing]
    assert measure_all(bench, everything) == 0
    other = replace(bench, folder=tmp_path / "two")
    seen = []
    with engine_of(worker.Worker(bench.pipe, bench.setup), Place(engine, 2)) as on_two:
        count = measure_all(
            other, everything, None, on_two, lambda line, done, total: seen.append(done)
        )
    assert count == 0 and seen == sorted(seen) and seen[-1] == len(everything) + 1
    assert found(bench.folder) == found(other.folder)


def test_a_corrupt_file_costs_its_own_result_only(bench, methods, tmp_path):
    measure_all(bench, methods)
    path = results_path(bench.folder, "tiny")
    whole = path.read_bytes().splitlines()
    (number,) = (i for i, line in enumerate(whole) if b'"family":"paper, DDIM 12"' in line[:200])
    torn = whole[number][: len(whole[number]) // 2]
    path.write_bytes(b"\n".join([*whole[:number], torn, *whole[number + 1 :], b""]))
    report = write_report(bench.folder, tmp_path / "page")
    assert report.settings == 3
    assert len(report.errors) == 1 and f"tiny.jsonl, line {number + 1}" in report.errors[0]
    assert f"tiny.jsonl, line {number + 1}" in (tmp_path / "page/index.html").read_text()
    measure_all(bench, methods)
    tidy(bench.folder, "tiny")
    results = read_results(bench.folder)
    assert not results.errors and "paper, DDIM 12" in {row.family for row in results.fidelities}
    # Seconds of the one measured anew differ, the lines of the others do not.
    assert len(set(snapshot(bench.folder)) & set(whole)) == 3


def test_a_peer_that_fails_is_listed_and_costs_the_others_nothing(bench, methods):
    peers = [
        Method("FirstBlockCache", name, 10, peer="firstblock", options=((name, 0.1),))
        for name in ("threshold", "no_such_option")
    ]
    assert measure_all(bench, [*peers, *methods]) == 0
    results = read_results(bench.folder)
    assert len(results.fidelities) == 5
    (absence,) = results.absences
    assert (absence.family, absence.setting) == ("FirstBlockCache", "no_such_option")
    assert absence.reason.startswith("failed: TypeError")
    (works,) = (row for row in results.fidelities if row.family == "FirstBlockCache")
    assert works.macs < works.macs_full and works.nfe is works.bank_bytes is None


def test_families_are_drawn_together_four_at_a_time():
    methods = [Method(family, str(i), 10) for i in range(6) for family in ("a", "b")]
    groups = [[row.family + row.setting for row in group] for group in runner._groups(methods)]
    assert groups == [
        ["a0", "a1", "a2", "a3"],
        ["a4", "a5"],
        ["b0", "b1", "b2", "b3"],
        ["b4", "b5"],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, '"kind" must be one of'),
        ({"macs": -1}, "macs: Input should be greater"),
        ({"macs": "many"}, "macs: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"psnr_full": [float("nan"), 1.0]}, "psnr_full.0: Input should be a finite number"),
        ({"frdiff_bench": 2}, "frdiff_bench: Input should be 1"),
        ({"macs": 0}, "macs: Input should be greater than 0"),
        ({"macs": 10**30}, "macs: Input should be less than"),
        ({"model": "../x"}, "model: String should match"),
        ({"model": "other"}, "this file holds results of tiny, got other"),
        ({"steps": 7}, "method and record differ in steps"),
        ({"ssim_full": [0.5] * 5}, "one value per picture, 4 in all"),
        ({"seconds": [1.0, 1.0]}, "one value per timed batch"),
        ({"setup": {}}, "setup.pictures: Field required"),
    ],
)
def test_hostile_fields_are_named(bench, methods, change, message):
    measure_all(bench, methods[:1])
    path = results_path(bench.folder, "tiny")
    first, second = path.read_text().splitlines()
    path.write_text(json.dumps(json.loads(first) | change) + "\n" + second + "\n")
    results = read_results(bench.folder)
    (error,) = results.errors
    assert message in error and f"{path}, line 1: " in error and len(results.fidelities) == 1


def test_results_under_other_conditions_are_left_out(bench, methods, tmp_path):
    measure_all(bench, methods)
    with torch.no_grad():
        next(bench.pipe.transformer.parameters()).add_(1)
    other = Bench("tiny", bench.pipe, bench.setup, bench.folder)
    assert other.key(methods[0]) != bench.key(methods[0])
    measure_all(other, methods[:1])
    report = write_report(bench.folder, tmp_path / "page")
    told = "tiny, guidance 2: 2 results under other conditions"
    assert report.errors[0].startswith(told)


def test_a_budget_of_nothing_measures_nothing(bench, methods):
    assert measure_all(bench, methods, budget=-1.0) == 4


def test_nothing_is_measured_against_what_has_not_converged(bench, methods, monkeypatch):
    monkeypatch.setattr(runner, "AGREEMENT_DB", 1000.0)
    with pytest.raises(ValueError, match="tiny has not converged at 10 steps"):
        measure_all(bench, methods)


@pytest.mark.parametrize("suite", [DIFFUSION, FLOW])
def test_methods_survive_their_files(suite):
    methods = suite.methods(everything=True, peers=True)
    for method in methods:
        assert Method.from_config(json.loads(json.dumps(method.config))) == method
    assert len({json.dumps(method.config) for method in methods}) == len(methods)
    quick = suite.methods(everything=False, peers=True)
    assert suite.full in quick
    assert set(map(str, quick)) < set(map(str, methods))


def test_prompts_are_spread_evenly():
    prompts = choose_prompts(["a", "b", "c"], 8, seed=0)
    assert sorted(prompts.count(name) for name in "abc") == [2, 3, 3]
    assert prompts == choose_prompts(["a", "b", "c"], 8, seed=0)
