"""Ray does the same jobs, and goes on where workers and nodes are lost. Real ones are killed."""

import os

import pytest
import ray
import torch

from engine_work import Square
from frdiff.engines import Place, WorkError, engine_of, in_order, on_ray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),
]
JOBS = [*range(20, 40), 13, *range(5)]


@pytest.fixture(scope="module")
def cluster():
    """One node that the tests of this file share."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_results_are_those_of_one_process_and_each_job_is_done_once(cluster, tmp_path):
    work, jobs = Square(tmp_path), list(range(20, 40))
    with engine_of(work, Place("ray", 2)) as engine:
        found = list(in_order(engine(jobs)))
        assert list(engine([])) == []
        assert list(in_order(engine([3]))) == [(9, torch.get_num_threads())]
    assert found == [(job**2, torch.get_num_threads()) for job in jobs]
    assert work.asked() == dict.fromkeys([3, *jobs], 1)
    assert 1 <= len(work.processes()) <= 2  # the first may be done before the other is there
    assert os.getpid() not in work.processes()


def test_a_worker_that_is_killed_is_begun_again(cluster, tmp_path):
    work = Square(tmp_path)
    with engine_of(work, Place("ray", 2)) as engine:
        found = list(in_order(engine(JOBS)))
    assert [square for square, _ in found] == [job**2 for job in JOBS]
    asked = work.asked()
    assert asked.pop(13) >= 2
    # Beside the one that died of its job nothing that was finished is done again.
    assert sum(asked.values()) <= len(JOBS)


def test_a_job_that_kills_all_that_try_it_is_named(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "TRIES", 2)  # each takes as long as torch is imported
    with (
        pytest.raises(WorkError, match="job 2 was tried 2 times, and its worker was lost"),
        engine_of(Square(tmp_path), Place("ray", 1)) as engine,
    ):
        list(engine([1, 99, 2]))
    assert Square(tmp_path).asked()[99] == 2


def test_what_a_job_raises_is_named(cluster, tmp_path):
    with (
        pytest.raises(WorkError, match="job 2 failed: ValueError: -1 is negative"),
        engine_of(Square(tmp_path), Place("ray", 1)) as engine,
    ):
        list(engine([1, -1, 2]))


def test_more_workers_than_there_is_room_for_are_refused(cluster, tmp_path):
    for place, words in (
        (Place("ray", 3), "3 workers with 1 CPU each do not fit .* which has 2: ask for 2 at most"),
        (Place("ray", 1, {"GPU": 1}), "1 workers with 1 GPU each .* which has 0: ask for 0"),
    ):
        with pytest.raises(ValueError, match=words), engine_of(Square(tmp_path), place):
            pass
