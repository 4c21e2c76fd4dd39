"""`torch.compile(fullgraph=True)`: one graph per kind of step, no break, the same outputs."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import flex_attention

import frdiff
from conftest import call, ddim, loop, make_pipe, make_unet
from frdiff import sampling

FORECAST = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="residual")
PAPER = frdiff.UniformPolicy(3, bias=0.5)
EVERY = frdiff.UniformPolicy(1)
# Keyframes, steps that compute nothing, and steps that compute either group; fitted weights too.
TABLE = frdiff.TablePolicy(
    12,
    [[0, 1], [], [0], [1], [0, 1], [], [0], [1], [], [0, 1], [], [0]],
    groups=[["down*", "mid*"], ["up*"]],
    forecast_weights=[*[None] * 5, [[1.5, -0.5], [1.25, -0.25]], *[None] * 6],
    targets="residual",
)
# Jumps, and keyframes that weigh earlier scores after them.
CORRECTED = frdiff.TablePolicy(
    12,
    [[0], [], [0], [], [0], [], [0], [0], [0], [], [0], [0]],
    mixing_weights=[1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1],
    score_weights=[*[[1.0]] * 4, *[[1.5, -0.5]] * 4, *[[1.0]] * 2, [2.0, -0.5, -0.5], [1.0]],
)
# The first step alone weighs its score with nothing before it.
LEARNT = replace(
    CORRECTED,
    score_weights=[[0.8], *[[0.9]] * 3, *[[1.4, -0.5]] * 4, [0.8], [1.1], [1.7, -0.6], [1.2]],
)
LEANT = replace(LEARNT, sample_weights=[0.1, 0.0, -0.05, *[0.02] * 9])
GUIDED = replace(LEANT, guidance_weights=[0.2, 0.0, -0.3, *[0.0] * 3, 0.5, *[0.0] * 5])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the plan computes 100%"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def reset():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def eager(policy, **options):
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, policy, scheduler=scheduler):
        return loop(unet, scheduler, **options)


@pytest.mark.parametrize("order", ["apply-compile", "compile-apply", "compile-run-apply"])
@pytest.mark.parametrize(
    ("policy", "kinds", "inner_kinds"),
    [
        (FORECAST, 2, 2),
        (PAPER, 2, 3),
        (EVERY, 1, 1),
        (TABLE, 4, 4),
        (CORRECTED, 1, 3),
        (LEARNT, 1, 3),
        (LEANT, 1, 3),
        (GUIDED, 1, 3),
    ],
    ids=["forecast", "paper", "every", "table", "corrected", "learnt", "leant", "guided"],
)
def test_one_graph_per_kind_of_step(order, policy, kinds, inner_kinds):
    """Jumps and weights of scores need none, where what was compiled is known."""
    unet, scheduler = make_unet(), ddim()
    counter = CompileCounterWithBackend("eager")

    def compiled():
        return torch.compile(unet, fullgraph=True, backend=counter)

    if order == "apply-compile":
        run = frdiff.apply(unet, policy, scheduler=scheduler)
        net = compiled()
    else:
        net = compiled()
        if order == "compile-run-apply":
            loop(net, scheduler)
            counter.clear()
        run = frdiff.apply(net, policy, scheduler=scheduler)
    expected = eager(policy)
    for _ in range(2):
        assert torch.equal(loop(net, scheduler), expected)
    if order == "apply-compile":
        kinds = inner_kinds
    elif order == "compile-run-apply" and not policy.reuses:
        kinds = 0  # the graph of the plain run serves
    assert counter.frame_count == kinds
    assert not counters["graph_break"]
    run.remove()
    assert torch.equal(loop(net, scheduler), loop(make_unet(), ddim()))


@pytest.mark.parametrize(
    ("storage", "kinds"),
    [
        (frdiff.Storage("half"), 2),
        # The first keyframe of a run has none to differ from, and what follows it no change.
        (frdiff.Storage("half", "int8"), 4),
        (frdiff.Storage("int8", "int8", 0.25), 4),
    ],
    ids=str,
)
def test_features_in_fewer_bytes_are_stored_and_restored_within_graphs(storage, kinds):
    policy = replace(FORECAST, storage=storage)
    unet, scheduler = make_unet(), ddim()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(unet, backend=counter, fullgraph=True)
    with frdiff.apply(compiled, policy, scheduler=scheduler) as run:
        for _ in range(2):
            assert torch.allclose(loop(compiled, scheduler), eager(policy), atol=1e-4)
        peak = run.stats.bank_bytes_peak
    assert counter.frame_count == kinds
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        loop(unet, scheduler)
        assert run.stats.bank_bytes_peak == peak


def test_guidance_in_two_calls_needs_no_more_graphs():
    unet, scheduler = make_unet(), ddim()
    counter = CompileCounterWithBackend("eager")
    with frdiff.apply(unet, FORECAST, scheduler=scheduler):
        net = torch.compile(unet, fullgraph=True, backend=counter)
        for _ in range(2):
            latents = loop(net, scheduler, two_calls=True)
    assert torch.equal(latents, eager(FORECAST, two_calls=True))
    assert counter.frame_count == 2


def test_outputs_as_tuples_and_aot():
    expected = make_pipe()
    with frdiff.apply(expected, PAPER):
        plain = call(expected)
    pipe = make_pipe()
    pipe.unet = torch.compile(pipe.unet, fullgraph=True, backend="aot_eager")
    with frdiff.apply(pipe, PAPER) as run:
        torch.testing.assert_close(call(pipe), plain, rtol=1e-4, atol=1e-5)
        assert run.stats.jumps == 4


def test_a_scheduler_swapped_under_a_compiled_denoiser_is_followed():
    expected = make_pipe()
    with frdiff.apply(expected, FORECAST):
        call(expected)
        sampling.set_scheduler(expected, "dpm++")
        plain = call(expected)
    pipe = make_pipe()
    pipe.unet = torch.compile(pipe.unet, fullgraph=True, backend="eager")
    with frdiff.apply(pipe, FORECAST) as run:
        call(pipe)
        sampling.set_scheduler(pipe, "dpm++")
        assert (call(pipe) == plain).all()
        assert run.stats.keyframes == 4


@pytest.mark.parametrize("way", ["torch.compile", "in place"])
def test_jumps_leave_the_graphs_of_a_compiled_denoiser_alone(way):
    unet, scheduler = make_unet(), ddim()
    counter = CompileCounterWithBackend("eager")
    if way == "in place":
        unet.compile(fullgraph=True, backend=counter)
        net = unet
    else:
        net = torch.compile(unet, fullgraph=True, backend=counter)
    plain = loop(net, scheduler)
    assert counter.frame_count == 1
    for policy in (frdiff.JumpPolicy(2), GUIDED):
        with frdiff.apply(net, policy, scheduler=scheduler) as run:
            assert torch.equal(loop(net, scheduler), eager(policy))
            assert run.stats.jumps > 0
    assert torch.equal(loop(net, scheduler), plain)
    assert counter.frame_count == 1


def test_graphs_serve_again_once_a_policy_is_removed():
    unet, scheduler = make_unet(), ddim()
    counter = CompileCounterWithBackend("eager")
    net = torch.compile(unet, fullgraph=True, backend=counter)
    loop(net, scheduler)
    with frdiff.apply(net, FORECAST, scheduler=scheduler):
        loop(net, scheduler)
    assert counter.frame_count == 3
    loop(net, scheduler)
    assert counter.frame_count == 3


def test_inductor():
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, PAPER, scheduler=scheduler):
        net = torch.compile(unet, fullgraph=True)
        latents = loop(net, scheduler)
    torch.testing.assert_close(latents, eager(PAPER), rtol=1e-3, atol=1e-4)
    assert not counters["graph_break"]


@pytest.mark.parametrize("way", ["compile", "compile_repeated_blocks"])
def test_compiled_in_place_or_block_by_block(way):
    unet, scheduler = make_unet(), ddim()
    getattr(unet, way)(fullgraph=True, backend="eager")
    with frdiff.apply(unet, FORECAST, scheduler=scheduler) as run:
        assert torch.equal(loop(unet, scheduler), eager(FORECAST))
        assert run.stats.keyframes == 4
        assert run.stats.macs_ratio < 1


class Flexible(torch.nn.Module):
    """A denoiser that attends flexibly."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attn = torch.nn.Linear(16, 16)

    def forward(self, sample, timestep):
        x = sample.view(1, 1, 16, 16)
        return (flex_attention(x, x + 1e-3 * timestep, self.attn(x)).view(sample.shape),)


@pytest.mark.parametrize(
    "policy", [frdiff.JumpPolicy(2), frdiff.UniformPolicy(3, mixing=False, targets=["attn"])]
)
def test_what_is_stored_around_flexible_attention_is_kept(policy):
    """A graph that holds some loses what is set after it on an object that was set before."""

    def draw(net, scheduler):
        scheduler.set_timesteps(12)
        x = torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
        for t in scheduler.timesteps:
            with torch.no_grad():
                (score,) = net(x, t)
            x = scheduler.step(score, t, x).prev_sample
        return x

    net, scheduler = Flexible(), ddim()
    with frdiff.apply(net, policy, scheduler=scheduler) as run:
        expected, figures = draw(net, scheduler), str(run.stats).rsplit(";", 1)[0]
        compiled = torch.compile(net, fullgraph=True, backend="eager")
        assert torch.allclose(draw(compiled, scheduler), expected, atol=1e-6)
        assert str(run.stats).rsplit(";", 1)[0] == figures


LENGTHENED = frdiff.TablePolicy(  # learnt rows of any sum, checked
    15,
    [(0,) if step % 2 == 0 else () for step in range(15)],
    mixing_weights=[float(step % 2 == 0) for step in range(15)],
    score_weights=[
        [1.0] if step % 2 == 0 else [1.1] if step < 2 else [1.6, -0.4] for step in range(15)
    ],
    checked=True,
    targets=(),
)


@pytest.mark.parametrize("policy", [frdiff.JumpPolicy(2, checked=True), LENGTHENED])
def test_checked_jumps_are_traced_once(policy):
    torch._dynamo.reset()
    net, scheduler = make_unet(), ddim()
    drawn = []
    for compiled in (False, True):
        counter = CompileCounterWithBackend("eager")
        called = torch.compile(net, fullgraph=True, backend=counter) if compiled else net
        with frdiff.apply(net, policy, scheduler=scheduler) as run:
            drawn.append(loop(called, scheduler, steps=15, batch=2))
        assert run.stats.held_back is not None
    assert counter.frame_count == 2  # one for keyframes, one for jumps, held back or not
    torch.testing.assert_close(*drawn, rtol=1e-4, atol=1e-5)
