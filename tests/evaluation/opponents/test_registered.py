"""Every opponent is measured as any other method is, and leaves the pipeline as it was."""

from dataclasses import replace

import pytest

import frdiff.evaluation.runner as runner
from conftest import make_dit_pipe
from frdiff.evaluation.measure import Setup, draw
from frdiff.evaluation.methods import FULL, REFERENCE, Method, opponents, peer
from frdiff.evaluation.opponents import OPPONENTS
from frdiff.evaluation.results.files import read_results
from frdiff.evaluation.runner import Bench, measure_all
from frdiff.search.subject import Batch, PipelineSubject

CALLS = 5
CALIBRATION = (Batch(1000, ("5", "6", "7", "8")),)
ON = replace(FULL, steps=12)
METHODS = [
    *(
        row
        for name in ("ays", "gits")
        for solver in ("unipc", "dpm++")
        for row in opponents(name, name, solver, (CALLS,))
    ),
    *opponents("dmn", "dmn", "unipc", (CALLS,)),
    *opponents("pfdiff", "pfdiff", "dpm++karras", (CALLS,)),
    *opponents("learnt", "learnt", "dpm++", (CALLS,), iterations=2, sums=False),
    peer("spectrum", "spectrum", "window growing by 0", ON, ON.steps, flex=0.0),
    peer("adaptive-guidance", "adaptive guidance", "cosine 0.5", ON, ON.steps, threshold=0.5),
]


@pytest.fixture
def setup():
    reference = replace(REFERENCE, steps=10)
    return Setup(
        ("1", "2", "3", "4"),
        batch=2,
        guidance=2.0,
        timed=1,
        full=ON,
        reference=reference,
        calibration=CALIBRATION,
    )


def test_all_opponents_are_here():
    assert {method.peer for method in METHODS} == OPPONENTS.keys()
    assert not any(method.is_foreign for method in METHODS)


def test_every_opponent_has_a_result_and_its_cost(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "AGREEMENT_DB", 0.0)
    pipe = make_dit_pipe()
    own = pipe.scheduler
    assert measure_all(Bench("tiny", pipe, setup, tmp_path), METHODS) == 0
    assert pipe.scheduler is own and "forward" not in vars(pipe.transformer)
    results = read_results(tmp_path)
    assert not results.absences and not results.errors
    shares = {(row.family, row.scheduler): row.macs / row.macs_full for row in results.fidelities}
    assert len(shares) == len(METHODS) + 1
    for method in METHODS[:7]:
        assert shares[method.family, method.scheduler] == pytest.approx(CALLS / 12)
    assert shares["spectrum", "dpm++"] == pytest.approx(8 / 12)
    assert 0.5 < shares["adaptive guidance", "dpm++"] <= 1


def test_what_is_chosen_is_chosen_once_for_all_batches(setup):
    pipe = make_dit_pipe()
    subject = PipelineSubject(pipe, setup.guidance, latents=True)
    (method,) = opponents("gits", "gits", "unipc", (CALLS,))
    ready = method.calibrated(subject, CALIBRATION)
    assert [name for name, _ in ready.options] == ["levels"]
    assert method.options == ()
    (drawing,) = draw(pipe, [method], setup)
    with ready.attached(pipe) as (source, _):
        assert (setup.draw(source, ("1", "2"), CALLS, 0) == drawing.images[:2]).all()


def test_methods_of_ours_have_nothing_to_calibrate():
    method = Method("fewer steps, DPM-Solver++", "10 steps", 10)
    assert method.calibrated(PipelineSubject(make_dit_pipe()), ()) is method
