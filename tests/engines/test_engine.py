"""Engines give the same results with the same numbers, whoever does the jobs."""

import subprocess
import sys

import pytest
import torch

from engine_work import Square
from frdiff.engines import Place, WorkError, engine_of, in_order

JOBS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("place", [Place(), Place(workers=2)], ids=["here", "processes"])
def test_results_have_the_numbers_of_their_jobs(place, tmp_path):
    threads = torch.get_num_threads()
    with engine_of(Square(tmp_path), place) as engine:
        assert sorted(engine(JOBS)) == [(n, (job**2, threads)) for n, job in enumerate(JOBS)]
        assert list(engine([])) == []
        assert list(engine([7])) == [(0, (49, threads))]


def test_results_come_in_order_as_soon_as_they_can():
    given = iter([(1, "b"), (0, "a"), (3, "d"), (2, "c")])
    found = in_order(given)
    assert [next(found), next(found)] == ["a", "b"]
    assert next(given) == (3, "d")
    assert list(found) == ["c"]


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_taken_as_workers_are_free_for_them(workers, tmp_path):
    taken = []
    jobs = (taken.append(job) or job for job in range(20, 40))
    with engine_of(Square(tmp_path), Place(workers=workers)) as engine:
        next(engine(jobs))
        assert 1 <= len(taken) <= 3 * workers
    assert len(Square(tmp_path).asked()) <= 3 * workers


def test_a_worker_that_is_killed_is_named(tmp_path):
    with (
        pytest.raises(WorkError, match="a worker process was killed"),
        engine_of(Square(tmp_path), Place(workers=2)) as engine,
    ):
        list(engine([1, 99, 2]))


def test_what_cannot_be_sent_is_refused():
    def local(job):
        return job

    with (
        pytest.raises(ValueError, match="cannot be sent to other processes"),
        engine_of(local, Place(workers=2)),
    ):
        pass


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"engine": "dask"}, "engine must be one of"),
        ({"workers": 0}, "workers"),
        ({"resources_per_worker": {"GPU": 1}}, 'engine="ray" alone'),
        ({"address": "auto"}, 'engine="ray" alone'),
        ({"engine": "ray", "resources_per_worker": {"GPU": -1}}, r"resources_per_worker\['GPU'\]"),
    ],
)
def test_bad_places_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Place(**fields)


def test_without_ray_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from frdiff.engines import Place, engine_of\n"
        "with engine_of(abs, Place('ray')): pass"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "frdiff[ray]"' in found.stderr.splitlines()[-1]
