"""The network rests as planned, and the pipeline is as before afterwards."""

import pytest
import torch

from conftest import call, make_dit_pipe, make_pipe
from frdiff.evaluation.opponents.spectrum import is_evaluated, spectrum
from frdiff.sampling import sample, set_scheduler


@pytest.mark.parametrize(("flex", "evaluations"), [(0.75, 14), (3.0, 10)])
def test_fifty_steps_take_as_many_evaluations_as_the_authors_say(flex, evaluations):
    assert sum(is_evaluated(50, flex)) == evaluations


def test_a_window_that_does_not_grow_alternates_after_the_warm_up():
    assert [i for i, due in enumerate(is_evaluated(12, 0.0)) if due] == [0, 1, 2, 3, 4, 6, 8, 10]


@pytest.fixture(params=["U-Net", "DiT"])
def drawing(request):
    """A pipeline and what it draws in 12 steps."""
    if request.param == "U-Net":
        pipe = make_pipe()
        return pipe, pipe.unet, lambda: call(pipe, steps=12, batch=2)
    pipe = make_dit_pipe()
    set_scheduler(pipe, "dpm++")
    return (
        pipe,
        pipe.transformer,
        lambda: torch.from_numpy(sample(pipe, ["1", "2"], steps=12, guidance=2.0)),
    )


def test_the_network_rests_and_all_is_as_before_afterwards(drawing):
    pipe, denoiser, draw = drawing
    before, calls = draw(), []
    name = "down_blocks" if hasattr(denoiser, "down_blocks") else "transformer_blocks"
    block = getattr(denoiser, name)[0]
    hook = block.register_forward_hook(lambda *ran: calls.append(1))
    with spectrum(pipe, 12, flex=0.0):
        drawn = draw()
        assert len(calls) == sum(is_evaluated(12, 0.0)) == 8
        assert torch.equal(draw(), drawn)
    hook.remove()
    assert not torch.equal(drawn, before)
    assert (drawn - before).std() < 0.3 * before.std()
    assert torch.equal(draw(), before)


def test_the_head_of_a_unet_runs_at_every_step():
    pipe, heads = make_pipe(), []
    pipe.unet.conv_out.register_forward_hook(lambda *ran: heads.append(1))
    with spectrum(pipe, 12, flex=3.0):
        call(pipe, steps=12)
    assert len(heads) == 12


def test_a_run_that_is_all_warm_up_is_the_plain_one():
    pipe = make_pipe()
    before = call(pipe, steps=5, batch=1)
    with spectrum(pipe, 5, flex=0.0):
        assert torch.equal(call(pipe, steps=5, batch=1), before)
