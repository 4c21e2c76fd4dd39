"""A search on Ray is that of one process, byte for byte, though a node is lost on the way."""

import threading
import time

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

import frdiff
from engine_work import Square
from frdiff.engines import Place, engine_of, in_order
from pipelines_zoo import zoo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),
]
SEARCH = {"num_steps": 12, "speedup": 2, "samples": 2, "evaluations": 4, "latents": True}


@pytest.fixture
def nodes():
    """A cluster of two nodes on this machine, of one CPU each; and the second of them."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def test_a_node_that_is_lost_loses_no_job(nodes, tmp_path):
    cluster, second = nodes
    work, jobs = Square(tmp_path), list(range(100, 200))

    def lose():
        while len(work.asked()) < 20:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)  # what an autoscaler does

    thread = threading.Thread(target=lose)
    with engine_of(work, Place("ray", 2)) as engine:
        thread.start()
        found = [square for square, _ in in_order(engine(jobs))]
    thread.join()
    assert found == [job**2 for job in jobs]
    assert sum(work.asked().values()) <= len(jobs) + 2


def test_a_search_on_two_nodes_is_that_of_one_process(nodes, tmp_path):
    tiny = zoo()["stable-diffusion"]()

    def tuned(**more):
        return frdiff.tune(tiny.pipe, inputs=tiny.inputs, **SEARCH, **more).dumps()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert tuned(engine="ray", workers=2) == tuned()
    finally:
        torch.set_num_threads(threads)
