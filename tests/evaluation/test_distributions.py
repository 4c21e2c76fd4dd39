import pytest
import torch

import frdiff
from frdiff.evaluation import measure
from frdiff.evaluation.distributions import distribution_tasks, measure_distribution
from frdiff.evaluation.embedder import load_embedder
from frdiff.evaluation.inception import Inception, load_inception
from frdiff.evaluation.measure import Setup
from frdiff.evaluation.methods import FULL, Method
from frdiff.evaluation.results.files import read_results
from frdiff.evaluation.runner import Bench
from frdiff.evaluation.suites import DIFFUSION
from made_results import fidelity

SETTINGS = Method("fewer steps, DDIM", "4 steps", 4, "ddim")


@pytest.fixture
def bench(tmp_path):
    full = Method(FULL.family, "10 steps", 10)
    setup = Setup(("any digit",) * 96, batch=32, full=full)
    return Bench("digits", frdiff.load_model("digits"), setup, tmp_path)


def test_the_best_of_each_group_at_each_speed_up():
    results = [
        fidelity("fewer steps, DPM-Solver++", "12 steps", 50, 40.0),
        fidelity("fewer steps, UniPC", "12 steps", 50, 41.0),
        fidelity("frdiff, linear, interval 3", "25 steps", 45, 45.0),
        fidelity("frdiff, linear, interval 2", "25 steps", 60, 47.0),
        fidelity("paper, DDIM 50", "interval 2", 90, 35.0),
    ]
    tasks = [(point, method["family"]) for point, method in distribution_tasks(results, DIFFUSION)]
    assert tasks == [
        ("full", FULL.family),
        ("full, seeds B", FULL.family),
        ("full, seeds C", FULL.family),
        ("1.5x", "fewer steps, UniPC"),
        ("1.5x", "frdiff, linear, interval 2"),
        ("2x", "fewer steps, UniPC"),
        ("2x", "frdiff, linear, interval 3"),
        ("claim", "paper, DDIM 50"),
    ]


@pytest.mark.slow
def test_a_worse_method_is_farther_from_the_full_run(bench):
    embedder = load_embedder("digits")
    measure_distribution(bench, embedder, "full", bench.setup.full)
    measure_distribution(bench, embedder, "2x", SETTINGS)
    rows = {row.point: row for row in read_results(bench.folder).distributions}
    assert rows["full"].samples == 96 and rows["full"].accuracy is None
    assert rows["2x"].frechet_full > rows["full"].frechet_full > 0
    assert 0 < rows["full"].precision <= 1 and 0 < rows["full"].recall <= 1


@pytest.mark.slow
def test_a_second_network_looks_at_the_same_pictures(bench):
    class Shrink(torch.nn.Module):
        def forward(self, pictures):
            assert pictures.dtype == torch.uint8 and pictures.shape[1] == 3
            return torch.nn.functional.avg_pool2d(pictures.float(), 4).flatten(1)

    inception = Inception("shrunk pictures 1.0", Shrink())
    measure_distribution(bench, load_embedder("digits"), "2x", SETTINGS, inception)
    measure_distribution(bench, load_embedder("digits"), "2x", SETTINGS)
    alone, both = sorted(
        read_results(bench.folder).distributions, key=lambda row: bool(row.inception)
    )
    assert (alone.inception, alone.frechet_inception) == (None, None)
    assert both.inception == "shrunk pictures 1.0" and both.frechet_inception > 0
    assert both.frechet_full == alone.frechet_full


def test_inception_says_what_it_needs():
    with pytest.raises(ValueError, match=r"torch-fidelity.*frdiff\[online\]"):
        load_inception()


@pytest.mark.slow
def test_a_killed_drawing_keeps_its_batches(bench, monkeypatch):
    embedder = load_embedder("digits")
    real, drawn = measure.sample, []

    def killed(source, prompts, **options):
        drawn.append((options["steps"], options["seed"]))
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return real(source, prompts, **options)

    monkeypatch.setattr(measure, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        measure_distribution(bench, embedder, "2x", SETTINGS)
    assert not read_results(bench.folder).distributions
    measure_distribution(bench, embedder, "2x", SETTINGS)
    kept = drawn[:2]
    assert len(drawn) == 3 + 1 + 3 and not set(kept) & set(drawn[3:])
    measure_distribution(bench, embedder, "2x", SETTINGS)
    assert len(drawn) == 7
