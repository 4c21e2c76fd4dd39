"""Requests that take turns through one denoiser: each as if it were alone, bit for bit."""

import copy
import gc
import threading
from contextlib import nullcontext

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from test_schedulers import Flow, Unet
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

import frdiff
from conftest import EMBED, SCHEDULER, ddim, loop, make_pipe, make_unet

POLICIES = {
    "reuse": frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all"),
    "jumps": frdiff.JumpPolicy(2),
    "mixing": frdiff.UniformPolicy(3, bias=0.5, targets="all"),
    "adaptive": frdiff.AdaptivePolicy(0.3),
}
REUSE = POLICIES["reuse"]


def request(denoise, scheduler, steps, seed, state=None):
    """The latents after every step of one request."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1 + seed % 2, 4, 8, 8, generator=generator)
    text = torch.randn(1, 5, EMBED, generator=generator).repeat(len(x), 1, 1)
    scheduler.set_timesteps(steps)
    x = x * getattr(scheduler, "init_noise_sigma", 1)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "betas") else x
        with torch.no_grad(), state or nullcontext():
            score = denoise(scaled, t.expand(len(x)), text)
        x = scheduler.step(score, t, x).prev_sample
        yield x


def in_turns(*requests):
    """The last latents of requests that take turns until each has ended."""
    last = [None] * len(requests)
    live = dict(enumerate(requests))
    while live:
        for number, one in list(live.items()):
            try:
                last[number] = next(one)
            except StopIteration:
                del live[number]
    return last


KINDS = {"unet": (Unet, ddim), "transformer": (Flow, FlowMatchEulerDiscreteScheduler)}
LENGTHS = (12, 17, 14)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_different_length_equal_running_apart(kind, policy, count):
    make, make_scheduler = KINDS[kind]
    apart = []
    for seed in range(count):
        denoise, scheduler = make(), make_scheduler()
        with frdiff.apply(denoise.net, POLICIES[policy], scheduler=scheduler) as run:
            latents = in_turns(request(denoise, scheduler, LENGTHS[seed], seed))[0]
            apart.append((latents, run.stats, run.plan))
    denoise, template = make(), make_scheduler()
    plain = in_turns(request(denoise, make_scheduler(), 12, 0))[0]
    with frdiff.apply(denoise.net, POLICIES[policy], scheduler=template) as run:
        schedulers = [copy.deepcopy(template) for _ in range(count)]
        states = [run.state(scheduler) for scheduler in schedulers]
        rows = zip(schedulers, LENGTHS, range(count), states, strict=False)
        together = in_turns(*[request(denoise, *row) for row in rows])
        for latents, state, (alone, stats, plan) in zip(together, states, apart, strict=True):
            assert torch.equal(latents, alone)
            assert torch.equal(state.latents, alone)
            assert state.plan == plan
            for figure in ("steps", "keyframes", "reuse_steps", "jumps", "macs", "macs_full"):
                assert getattr(state.stats, figure) == getattr(stats, figure)
            assert state.stats.bank_bytes == 0
        assert run.stats.steps == 0
    assert torch.equal(in_turns(request(denoise, make_scheduler(), 12, 0))[0], plain)
    assert all("step" not in vars(scheduler) for scheduler in [template, *schedulers])


LEVELS = {
    "lossless": frdiff.KeyframePolicy(12, range(12), targets="all"),
    "reuse": REUSE,
    "jumps": frdiff.KeyframePolicy(17, range(0, 17, 2), [0.0] * 17, targets="all"),
    "mixing": POLICIES["mixing"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.filterwarnings("ignore:.*expect little speed-up")
def test_requests_may_have_policies_of_their_own(kind, compiled):
    torch._dynamo.reset()
    make, make_scheduler = KINDS[kind]
    lengths = {"lossless": 12, "reuse": 14, "jumps": 17, "mixing": 12}
    apart = {}
    for seed, (name, policy) in enumerate(LEVELS.items()):
        denoise, scheduler = make(), make_scheduler()
        with frdiff.apply(denoise.net, policy, scheduler=scheduler) as run:
            (latents,) = in_turns(request(denoise, scheduler, lengths[name], seed))
            apart[name] = latents, run.stats, run.plan
    denoise = make()
    if compiled:
        denoise.net.compile(fullgraph=True, backend="eager")
    with frdiff.apply(denoise.net, REUSE, scheduler=make_scheduler()) as run:
        schedulers = {name: make_scheduler() for name in LEVELS}
        states = {name: run.state(schedulers[name], LEVELS[name]) for name in LEVELS}
        together = in_turns(
            *[
                request(denoise, schedulers[name], lengths[name], seed, states[name])
                for seed, name in enumerate(LEVELS)
            ]
        )
    for name, latents in zip(LEVELS, together, strict=True):
        alone, stats, plan = apart[name]
        assert torch.equal(latents, alone)
        assert states[name].plan == plan
        for figure in ("steps", "keyframes", "reuse_steps", "jumps", "macs", "bank_bytes_peak"):
            assert getattr(states[name].stats, figure) == getattr(stats, figure)


@pytest.mark.parametrize(
    ("applied", "other", "words"),
    [
        (REUSE, frdiff.JumpPolicy(2), "has targets .* and those that are hooked are 'all'"),
        (LEVELS["lossless"], REUSE, "reuses features, and .* stores none"),
    ],
)
def test_policies_that_need_other_hooks_are_refused(applied, other, words):
    with frdiff.apply(make_unet(), applied, scheduler=ddim()) as run:
        scheduler = ddim()
        with pytest.raises(ValueError, match=words):
            run.state(scheduler, other)
        assert "step" not in vars(scheduler)


def test_requests_share_their_compiled_graphs():
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend("eager")
    denoise = Unet()
    policy = POLICIES["mixing"]
    with frdiff.apply(denoise.net, policy, scheduler=ddim()) as run:
        denoise.net = torch.compile(denoise.net, fullgraph=True, backend=counter)
        for _ in range(2):
            schedulers = [ddim(), ddim()]
            states = [run.state(scheduler) for scheduler in schedulers]
            rows = zip(schedulers, LENGTHS, (0, 2), states, strict=False)
            together = in_turns(*[request(denoise, *row) for row in rows])
    apart = []
    for length, seed in zip(LENGTHS, (0, 2), strict=False):
        denoise, scheduler = Unet(), ddim()
        with frdiff.apply(denoise.net, policy, scheduler=scheduler):
            apart += in_turns(request(denoise, scheduler, length, seed))
    assert all(map(torch.equal, together, apart))
    assert counter.frame_count == 3
    assert not counters["graph_break"]


def test_a_pipeline_and_requests_beside_it():
    pipe = make_pipe()
    unet = pipe.unet
    expected = make_unet(), ddim()
    with frdiff.apply(expected[0], REUSE, scheduler=expected[1]):
        latents = loop(*expected)
    with frdiff.apply(pipe, REUSE) as run:
        scheduler = ddim()
        state = run.state(scheduler)
        for _ in range(2):
            with state:
                assert torch.equal(loop(unet, scheduler), latents)
            assert torch.equal(loop(unet, pipe.scheduler), latents)
        assert run.stats.keyframes == state.stats.keyframes == 4


def test_requests_may_change_threads_between_their_steps():
    def step(request, drawn):
        drawn.append(next(request, None))

    denoise, scheduler = Unet(), ddim()
    with frdiff.apply(denoise.net, REUSE, scheduler=ddim()) as run:
        drawn = []
        one = request(denoise, scheduler, 12, 0, run.state(scheduler))
        for _ in range(12):
            thread = threading.Thread(target=step, args=(one, drawn))
            thread.start()
            thread.join()
    with frdiff.apply(denoise.net, REUSE, scheduler=scheduler):
        alone = in_turns(request(denoise, scheduler, 12, 0))[0]
    assert torch.equal(drawn[-1], alone)


def test_two_requests_at_a_time_are_refused():
    raised = []

    def enter(state):
        try:
            with state:
                pass
        except RuntimeError as error:
            raised.append(str(error))

    with frdiff.apply(make_unet(), REUSE, scheduler=ddim()) as run:
        first, second = run.state(ddim()), run.state(ddim())
        with first:
            thread = threading.Thread(target=enter, args=(second,))
            thread.start()
            thread.join()
            with second:
                pass
        enter(second)
    assert len(raised) == 1
    assert "another thread is within the state of another request" in raised[0]


def test_a_scheduler_of_two_requests_and_a_policy_that_is_gone_are_refused():
    run = frdiff.apply(make_unet(), REUSE, scheduler=ddim())
    scheduler = EulerDiscreteScheduler(**SCHEDULER)
    state = run.state(scheduler)
    with pytest.raises(ValueError, match="already drives another run"):
        run.state(scheduler)
    assert state.stats.steps == 0
    run.remove()
    with pytest.raises(RuntimeError, match="the policy was removed; apply it again"):
        run.state(scheduler)
    assert "step" not in vars(scheduler)


def test_a_request_that_is_dropped_leaves_nothing():
    with frdiff.apply(make_unet(), REUSE, scheduler=ddim()) as run:
        for _ in range(3):
            scheduler = ddim()
            one = request(Unet(), scheduler, 12, 0, run.state(scheduler))
            next(one)
            del one, scheduler
        gc.collect()
        assert len(run._states) == 1
