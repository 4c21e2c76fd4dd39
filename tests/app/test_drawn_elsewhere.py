"""The process that draws: what it answers, and that it never outlives the one that asked for it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_desk import FIELDS

from frdiff.app.desk import Desk
from frdiff.app.drawing import drawn_elsewhere
from frdiff.app.wording import COMPARE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def elsewhere():
    with drawn_elsewhere("digits", "cpu") as desk:
        yield desk.result()


def runs(pid):
    """Whether there is such a process, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ends(pid, seconds=60):
    """Whether it ends in that time."""
    until = time.monotonic() + seconds
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.1)
    return not runs(pid)


def test_what_is_drawn_elsewhere_is_what_is_drawn_here(elsewhere, studio):
    assert elsewhere.fields("digits") == Desk(studio).fields("digits")
    here = list(Desk(studio).compare("me", FIELDS))
    there = list(elsewhere.compare("me", FIELDS))
    assert len(here) == len(there)
    for name, picture in here[-1].pictures.items():
        # Whichever threads draw, pixels are the same but for the last bit.
        apart = np.abs(np.asarray(picture, int) - np.asarray(there[-1].pictures[name], int))
        assert apart.max() <= 1


def test_two_at_once_each_get_their_own(elsewhere):
    def drawn(seed):
        return list(elsewhere.compare(f"session {seed}", FIELDS | {"seed": seed}))[-1].pictures

    alone = [drawn(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(drawn, (1, 2)))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(alone[0]["full run"], alone[1]["full run"])


def test_work_is_stopped_from_another_thread(elsewhere):
    drawing = elsewhere.compare("me", FIELDS | {"steps": 250})
    next(drawing)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere.stop, "me", COMPARE).result()
    assert "stopped" in list(drawing)[-1].status


def test_a_device_that_is_not_there_is_told():
    with (
        drawn_elsewhere("digits", "nowhere") as desk,
        pytest.raises(ValueError, match="no device 'nowhere' here"),
    ):
        desk.result()


def test_it_ends_with_the_block():
    before = set(multiprocessing.active_children())
    with drawn_elsewhere("digits", "cpu"):
        (child,) = set(multiprocessing.active_children()) - before
    assert ends(child.pid)


def test_it_ends_with_a_process_that_was_killed(tmp_path):
    script = tmp_path / "starts.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from frdiff.app.drawing import drawn_elsewhere\n"
        "if __name__ == '__main__':\n"
        "    with drawn_elsewhere('digits', 'cpu'):\n"
        "        print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.send_signal(signal.SIGKILL)
    assert ends(child)


def test_when_it_was_killed_the_page_says_so():
    pytest.importorskip("gradio")
    from frdiff.app.tabs import unanswered

    before = set(multiprocessing.active_children())
    with drawn_elsewhere("digits", "cpu") as desk:
        (child,) = set(multiprocessing.active_children()) - before
        drawing = desk.result().compare("me", FIELDS | {"steps": 250})
        next(drawing)
        os.kill(child.pid, signal.SIGKILL)
        for ask in (lambda: list(drawing), lambda: desk.result().fields("digits")):
            with unanswered() as said:
                ask()
            assert "what draws has ended" in said[0]
