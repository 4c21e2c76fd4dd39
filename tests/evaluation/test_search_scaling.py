"""The simulation of a search, where what it must say can be told without it."""

import pytest

from bench.search_scaling import Cluster, Round, Work, simulated

JOBS = tuple(Work(2.0, 8) for _ in range(8))
ROUNDS = [Round(Work(3.0, 0), JOBS), Round(Work(1.0, 0), ())]


@pytest.mark.parametrize(("workers", "jobs"), [(1, 16), (2, 8), (3, 6), (8, 2), (20, 2)])
def test_jobs_are_shared_out_and_the_driver_is_waited_for(workers, jobs):
    spent = simulated(5.0, ROUNDS, Cluster(workers, workers + 1, begins=0.0, gives=0.0))
    assert spent.alone == pytest.approx(5 + 3 + 1)
    assert spent.seconds == pytest.approx(5 + 3 + 1 + jobs)


def test_workers_that_share_processors_are_no_faster_than_these():
    two = simulated(0.0, ROUNDS, Cluster(2, 2, begins=0.0, gives=0.0))
    four = simulated(0.0, ROUNDS, Cluster(4, 2, begins=0.0, gives=0.0))
    assert four.seconds == pytest.approx(two.seconds, rel=0.02)


def test_what_begins_gives_and_slows_is_paid_for():
    plain = simulated(0.0, ROUNDS, Cluster(2, 3, begins=0.0, gives=0.0))
    # Workers begin while the driver works: what is left of it is waited for.
    late = simulated(0.0, ROUNDS, Cluster(2, 3, begins=10.0, gives=0.0))
    assert late.seconds == pytest.approx(plain.seconds + 7)
    slow = simulated(0.0, ROUNDS, Cluster(2, 3, begins=0.0, gives=0.0, beside=1.5))
    assert slow.seconds == pytest.approx(4 + 1.5 * 8)
    busy = simulated(0.0, ROUNDS, Cluster(8, 9, begins=0.0, gives=0.5))
    assert busy.seconds == pytest.approx(4 + 2 + 8 * 0.5)
