"""Tapes: runs with a beginning played back are the same runs."""

import numpy as np
import pytest

from conftest import make_dit_pipe
from frdiff.policy import TablePolicy
from frdiff.search.subject import Batch, PipelineSubject
from frdiff.search.weights.tape import taped
from frdiff.setting import Setting

STEPS = 5
BATCH = Batch(0, ("1", "2"))


def weighing(weight):
    """All keyframes, of which step 2 takes its score with a weight."""
    rows = [[1.0]] * 2 + [[weight]] + [[1.0]] * 2
    return Setting(STEPS, TablePolicy(STEPS, [(0,)] * STEPS, score_weights=rows, targets=()))


@pytest.mark.parametrize("per_call", [None, 1], ids=["one-run", "a-run-per-sample"])
def test_what_comes_after_a_change_is_computed_and_nothing_else(per_call):
    pipe = make_dit_pipe()
    subject = PipelineSubject(pipe, guidance=2.0, per_call=per_call, latents=True)
    expected = [subject.draw(weighing(weight), BATCH) for weight in (1.0, 1.3, 0.7)]
    assert not np.array_equal(expected[0], expected[1])
    calls = []
    computing = pipe.transformer.forward

    def counted(*args, **kwargs):
        calls.append(1)
        return computing(*args, **kwargs)

    pipe.transformer.forward = counted
    runs = 1 if per_call is None else len(BATCH.prompts)
    with taped(subject, None, STEPS) as tape:
        for known in (3, 0, 3):  # recorded anew each time
            tape.record()
            calls.clear()
            assert np.array_equal(subject.draw(weighing(1.0), BATCH), expected[0])
            assert len(calls) == STEPS * runs
            for weight, wanted in zip((1.3, 0.7), expected[1:], strict=True):
                tape.play(known)
                calls.clear()
                assert np.array_equal(subject.draw(weighing(weight), BATCH), wanted)
                assert len(calls) == (STEPS - known) * runs
    assert pipe.transformer.forward is counted
    assert np.array_equal(subject.draw(weighing(1.3), BATCH), expected[1])


def test_a_pipeline_that_steps_otherwise_is_drawn_whole():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    with taped(subject, None, STEPS + 1) as tape:
        first = subject.draw(weighing(1.0), BATCH)
        tape.play(3)
        assert np.array_equal(
            subject.draw(weighing(1.3), BATCH), subject.draw(weighing(1.3), BATCH)
        )
        assert not np.array_equal(first, subject.draw(weighing(1.3), BATCH))
