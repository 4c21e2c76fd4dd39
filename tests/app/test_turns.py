"""Who draws when."""

import threading

import pytest

import frdiff
from frdiff.app.turns import Lease, Stopped, Turns, watched
from frdiff.sampling import sample


def in_line(turns, count):
    """Wait until so many stand in the line."""
    for _ in range(500):
        if turns.waiting == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{turns.waiting} stand in the line, not {count}")


def test_first_come_first_served():
    turns, order = Turns(), []

    def draw(name):
        with turns.taken(Lease()):
            order.append(name)

    with turns.taken(Lease()):
        threads = []
        for name in "abc":
            threads.append(threading.Thread(target=draw, args=(name,)))
            threads[-1].start()
            in_line(turns, 1 + len(threads))
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == ["a", "b", "c"]
    assert turns.waiting == 0


def test_who_stops_while_waiting_leaves_the_line():
    turns, lease, seen = Turns(), Lease(), []

    def draw():
        try:
            with turns.taken(lease):
                seen.append("drew")
        except Stopped:
            seen.append("stopped")

    with turns.taken(Lease()):
        thread = threading.Thread(target=draw)
        thread.start()
        in_line(turns, 2)
        lease.asked.set()
        thread.join(10)
        assert seen == ["stopped"]
        assert turns.waiting == 1


def test_a_long_turn_lets_others_go_first_but_not_while_it_measures():
    turns, order = Turns(share=0), []

    def draw():
        with turns.taken(Lease()):
            order.append("other")

    with turns.taken(Lease()) as pace:
        thread = threading.Thread(target=draw)
        thread.start()
        in_line(turns, 2)
        with pace.held():
            pace()
            order.append("measured")
        pace()
        order.append("long")
    thread.join(10)
    assert order == ["measured", "other", "long"]


def test_a_draw_stops_before_its_next_denoiser_call():
    pipe = frdiff.load_model("digits")
    turns, lease, calls = Turns(), Lease(), []

    def count(module, args):
        calls.append(1)
        if len(calls) == 3:
            lease.asked.set()

    hooks = dict(pipe.unet._forward_pre_hooks)
    with pytest.raises(Stopped), turns.taken(lease) as pace, watched(pipe, pace):
        handle = pipe.unet.register_forward_pre_hook(count)
        try:
            sample(pipe, [""], steps=20)
        finally:
            handle.remove()
    assert len(calls) == 3
    assert dict(pipe.unet._forward_pre_hooks) == hooks
    assert turns.waiting == 0


def test_a_lease_that_nobody_looks_at_runs_out():
    lease = Lease(patience=0.05)
    assert not lease()
    threading.Event().wait(0.1)
    assert lease()
    lease.look()
    assert not lease()
