"""Loops of every kind: who steps when, and which denoiser calls belong to a step.

The denoiser adds twice a text to its input. What it stores is twice the text, so with a text that
stands still a reuse step is exact, and any mistake about whose features are whose is not.
"""

import copy
import threading
import warnings

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import nn

import frdiff
from test_patch import Double

STEPS = 12
REUSE = frdiff.UniformPolicy(3, mixing=False, targets=["twice"])
HALF = frdiff.KeyframePolicy(STEPS, range(0, STEPS, 2), [1, 0] * 6, targets=["twice"])


class Adding(nn.Module):
    """Its input plus twice the mean of a text of any length."""

    def __init__(self):
        super().__init__()
        self.twice = Double()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, sample, timestep, text):
        return (sample + self.twice(text).mean(),)


def text(value, length=3):
    return torch.full((1, length), float(value))


ONE, TWO, FIVE = text(1), text(2), text(5)


def take(scheduler, score, t, x):
    return scheduler.step(score, t, x, return_dict=False)[0]


def exact(answer, x, prompt):
    return torch.equal(answer[0], x + 2 * prompt.mean())


@pytest.fixture
def net():
    return Adding()


@pytest.fixture
def flow():
    return FlowMatchEulerDiscreteScheduler()


# Who steps


def frames(net, flow, late=0):
    """A loop in which each of three frames has a copy of the scheduler; the last may begin late."""
    flow.set_timesteps(STEPS)
    solvers = [copy.deepcopy(flow) for _ in range(3)]
    for solver in solvers:
        solver.set_timesteps(STEPS)
    x = torch.arange(3.0).view(3, 1)
    for i in range(STEPS + late):
        places = [min(i, STEPS - 1), min(i, STEPS - 1), i - late]
        times = torch.stack([flow.timesteps[max(place, 0)] for place in places])
        (score,) = net(x, times, ONE)
        for frame, solver in enumerate(solvers):
            if 0 <= places[frame] and (frame == 2 or i < STEPS):
                t = times[frame]
                x[frame] = take(solver, score[frame], t, x[frame])
    return x


def test_copies_that_step_in_place_of_the_scheduler(net, flow):
    full = frames(net, flow)
    for policy in (REUSE, frdiff.JumpPolicy(2)):
        with frdiff.apply(net, policy, scheduler=flow) as run:
            drawn = frames(net, flow)
            assert torch.equal(frames(net, flow), drawn)
            assert run.stats.steps == STEPS
            assert run.stats.reuse_steps + run.stats.jumps >= 5
            assert run.stats.bank_bytes == 0
        assert torch.equal(drawn, full) == (policy is REUSE)
    assert torch.equal(frames(net, flow), full)


def test_copies_at_different_steps_are_refused(net, flow):
    with (
        pytest.raises(RuntimeError, match=r"copies that are at different steps.*diffusion forcing"),
        frdiff.apply(net, REUSE, scheduler=flow),
    ):
        frames(net, flow, late=3)


@pytest.mark.parametrize("first", ["video", "sound"])
def test_a_copy_for_a_second_output(first, net, flow):
    def draw():
        flow.set_timesteps(STEPS)
        other, video, sound = copy.deepcopy(flow), torch.zeros(1, 1), torch.ones(1, 2)
        for t in flow.timesteps:
            (score,) = net(video, t, ONE)
            if first == "video":
                video, sound = take(flow, score, t, video), take(other, -score, t, sound)
            else:
                sound, video = take(other, -score, t, sound), take(flow, score, t, video)
        return torch.cat([video, sound], dim=1)

    full = draw()
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        assert torch.equal(draw(), full)
    assert (run.stats.steps, run.stats.reuse_steps) == (STEPS, 8)
    assert torch.equal(run.latents, full[:, :1])


def test_a_scheduler_stepped_twice_per_call(net):
    """As Cosmos does, whose second step starts from what the first one predicts."""
    solver = EulerDiscreteScheduler()

    def draw():
        solver.set_timesteps(STEPS)
        x = torch.ones(1, 1)
        for t in solver.timesteps:
            (score,) = net(solver.scale_model_input(x, t), t, ONE)
            guess = solver.step(score, t, x, return_dict=False)[1]
            solver._step_index -= 1
            x = take(solver, 0.5 * (score + guess), t, x)
        return x

    full = draw()
    with frdiff.apply(net, REUSE, scheduler=solver) as run:
        assert torch.equal(draw(), full)
        assert torch.equal(draw(), full)
    assert (run.stats.steps, run.stats.keyframes, run.stats.reuse_steps) == (STEPS, 4, 8)
    assert torch.equal(run.latents, full)


def test_views_that_step_one_by_one_are_refused(net, flow):
    """As a panorama does: they look like steps, and are none."""
    with (
        pytest.raises(RuntimeError, match=r"again at the timestep of step 1.*run\.state"),
        frdiff.apply(net, REUSE, scheduler=flow),
    ):
        flow.set_timesteps(STEPS)
        for t in flow.timesteps:
            for _ in range(2):
                take(flow, net(ONE, t, ONE)[0], t, ONE)
                flow._step_index = None


@pytest.mark.parametrize("convert", [lambda t: t.expand(3), lambda t: t.repeat(3)])
@pytest.mark.parametrize("skip", [0, 2])
def test_a_timestep_per_sample(convert, skip, net):
    """As Wuerstchen gives it, to the denoiser and to the scheduler."""

    class Batched(DDIMScheduler):
        def step(self, model_output, timestep, sample):
            assert timestep.shape == (3,)
            return super().step(model_output, timestep[0], sample)

    solver, x = Batched(), torch.ones(3, 1)
    with frdiff.apply(net, REUSE, scheduler=solver) as run:
        for _ in range(2):
            solver.set_timesteps(STEPS)
            for t in solver.timesteps[skip:]:
                assert exact(net(x, convert(t), ONE), x, ONE)
                solver.step(x, convert(t), x)
            assert run.stats.steps == STEPS - skip
            assert run.stats.keyframes == 4
            assert run.stats.reuse_steps == STEPS - skip - 4


# Runs and pipelines


class Staged(DiffusionPipeline):
    """A pipeline of several loops, which may leave steps out at their ends."""

    def __init__(self, transformer, scheduler):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)

    @torch.no_grad()
    def __call__(self, loops=1, left_out=0, reset=False):
        x = torch.zeros(1, 1)
        for _ in range(loops):
            self.scheduler.set_timesteps(STEPS)
            for t in self.scheduler.timesteps[: STEPS - left_out]:
                x = take(self.scheduler, self.transformer(x, t, ONE)[0], t, x)
        if reset:
            self.scheduler.set_timesteps(STEPS)
        self.maybe_free_model_hooks()
        return x


class Outer(DiffusionPipeline):
    """A pipeline that leaves all work, and the end, to another one."""

    def __init__(self, transformer, scheduler):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)
        self.inner = Staged(transformer, scheduler)

    def __call__(self, **options):
        return self.inner(**options)


@pytest.mark.parametrize("kind", [Staged, Outer])
def test_all_loops_of_a_call_are_in_its_figures(kind, net, flow):
    pipe = kind(net, flow)
    full = pipe(loops=3)
    with frdiff.apply(pipe, REUSE) as run:
        for loops in (3, 1, 2):
            pipe(loops=loops)
            stats = run.stats
            assert (stats.steps, stats.keyframes) == (loops * STEPS, loops * 4)
        assert torch.equal(pipe(loops=3), full)
    assert "maybe_free_model_hooks" not in vars(pipe)


@torch.no_grad()
def test_figures_are_of_the_last_loop_where_no_end_is_told(net, flow):
    class Untold(Staged):
        def __call__(self):
            self.scheduler.set_timesteps(STEPS)
            walk(self.transformer, self.scheduler)

    pipe = Untold(net, flow)
    with frdiff.apply(pipe, REUSE) as run:
        for _ in range(5):
            pipe()
            assert (run.stats.steps, run.stats.keyframes) == (STEPS, 4)


@pytest.mark.parametrize("kind", [Staged, Outer])
@pytest.mark.parametrize("left_out", [1, 5])
def test_a_loop_that_ends_early_gives_memory_back(kind, left_out, net, flow):
    pipe = kind(net, flow)
    full = pipe(left_out=left_out)
    with frdiff.apply(pipe, REUSE) as run:
        for _ in range(2):
            drawn = pipe(left_out=left_out)
            assert torch.equal(drawn, full)
            assert torch.equal(run.latents, full)
            assert run.stats.steps == STEPS - left_out
            assert run.stats.reuse_steps == (STEPS - left_out) - run.stats.keyframes > 3
            assert run.stats.bank_bytes == 0 < run.stats.bank_bytes_peak


def test_timesteps_set_after_the_last_step_leave_the_figures(net, flow):
    pipe = Staged(net, flow)
    with frdiff.apply(pipe, REUSE) as run:
        for _ in range(2):
            pipe(reset=True)
            assert (run.stats.steps, run.stats.reuse_steps) == (STEPS, 8)
            assert len(run.plan) == STEPS


def test_another_network_in_the_place_of_the_patched_one_is_said(net, flow):
    pipe = Staged(net, flow)
    with frdiff.apply(pipe, REUSE) as run:
        pipe()
        pipe.transformer = Adding()
        with pytest.warns(UserWarning, match="12 steps .* none called the Adding.*reused"):
            pipe()
        assert (run.stats.steps, run.stats.reuse_steps, run.stats.macs_ratio) == (STEPS, 0, 1)


def test_another_network_in_a_loop_that_never_ends_is_said_in_the_end(net, flow):
    run = frdiff.apply(net, REUSE, scheduler=flow)
    flow.set_timesteps(STEPS)
    for t in flow.timesteps[:5]:
        take(flow, Adding()(ONE, t, ONE)[0], t, ONE)
    with pytest.warns(UserWarning, match="5 steps .* none called"):
        run.remove()


# Which calls belong to a step


def invert(net, flow):
    """Calls at all timesteps without a step; each is plain."""
    for t in reversed(flow.timesteps):
        for prompt in (ONE, TWO):
            assert exact(net(ONE, t, prompt), ONE, prompt)


def walk(net, flow, prompts=(ONE,), between=lambda i: None, steps=STEPS):
    for i, t in enumerate(flow.timesteps):
        between(i)
        for prompt in prompts(i) if callable(prompts) else prompts:
            x = torch.full((1, 1), float(i))
            assert exact(net(x, t, prompt), x, prompt), i
        take(flow, ONE, t, ONE)


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.expand(1).float(), float])
def test_calls_outside_of_the_loop_are_plain_and_leave_nothing(convert, net, flow):
    class Converting(nn.Module):
        def __call__(self, x, t, prompt):
            return net(x, convert(t), prompt)

    drawn = Converting()
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        net(ONE, 3.0, FIVE)
        assert run.stats.bank_bytes == 0
        flow.set_timesteps(STEPS)
        invert(drawn, flow)
        flow.set_timesteps(STEPS)
        walk(drawn, flow)
        assert (run.stats.steps, run.stats.keyframes, run.stats.reuse_steps) == (STEPS, 4, 8)
        for _ in range(40):
            net(ONE, 3.0, FIVE)
        assert run.stats.bank_bytes == 0
        assert run.stats.reuse_steps == 8
        flow.set_timesteps(STEPS)
        walk(drawn, flow)
        assert (run.stats.steps, run.stats.keyframes, run.stats.reuse_steps) == (STEPS, 4, 8)


def test_a_loop_over_the_same_timesteps_begins_anew(net, flow):
    flow.set_timesteps(STEPS)
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        for prompt in (ONE, TWO, ONE):
            walk(net, flow, [prompt])
            assert (run.stats.keyframes, run.stats.reuse_steps) == (4, 8)
            flow._step_index = None


@pytest.mark.parametrize("when", [0, 1, 4])
def test_a_call_at_another_time_is_none_of_the_step(when, net, flow):
    """As one that reads a reference picture at time 0 before a step."""

    def between(i):
        if i == when:
            assert exact(net(ONE, torch.zeros(()), FIVE), ONE, FIVE)

    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        for _ in range(2):
            flow.set_timesteps(STEPS)
            walk(net, flow, between=between)
            assert run.stats.reuse_steps >= 7


def test_many_views_per_step(net, flow):
    prompts = [text(value) for value in range(100)]
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        for _ in range(2):
            before = net.twice.calls
            flow.set_timesteps(STEPS)
            walk(net, flow, prompts)
            assert net.twice.calls - before == 4 * len(prompts)
    assert (run.stats.keyframes, run.stats.reuse_steps) == (4, 8)


ORDERS = {
    "off from 5": lambda i: [ONE, TWO] if i < 5 else [TWO],
    "on from 5": lambda i: [TWO] if i < 5 else [ONE, TWO],
    "on from 5, after": lambda i: [TWO] if i < 5 else [TWO, ONE],
    "off between": lambda i: [TWO] if 4 <= i < 8 else [ONE, TWO],
    "in turns": lambda i: [ONE, TWO] if i % 2 else [TWO],
    "the other in turns": lambda i: [[ONE, TWO], [TWO], [ONE]][i % 3],
    "three, then two": lambda i: [ONE, TWO, FIVE] if i < 5 else [ONE, FIVE],
    "another order": lambda i: [ONE, TWO] if i < 5 else [TWO, ONE],
}


@pytest.mark.parametrize("order", ORDERS)
def test_guidance_in_any_order(order, net, flow):
    """Every answer is as if there were no policy, since no text gets features of another."""
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        for _ in range(2):
            flow.set_timesteps(STEPS)
            walk(net, flow, ORDERS[order])
    assert run.stats.macs_ratio is not None
    assert run.stats.reuse_steps >= 3


def test_a_prompt_that_is_edited_on_the_way_is_computed_anew(net, flow):
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        flow.set_timesteps(STEPS)
        walk(net, flow, lambda i: [ONE] if i < 5 else [TWO])
    assert (run.stats.keyframes, run.stats.reuse_steps) == (5, 7)


def test_a_prompt_of_another_length_is_computed_anew(net, flow):
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        flow.set_timesteps(STEPS)
        walk(net, flow, lambda i: [text(1, 2 + (i > 4))])
    assert (run.stats.keyframes, run.stats.reuse_steps) == (5, 7)


# Others with the same network


@pytest.mark.parametrize("lead", [0, 1, 3])
@pytest.mark.parametrize("policy", [REUSE, HALF], ids=["reuse", "jump"])
def test_a_pipeline_without_the_policy_may_take_turns(policy, lead, net, flow):
    """Whatever its lead, so that its times are those of the step at hand, or the next one's."""

    def draw(scheduler, prompt, steps):
        scheduler.set_timesteps(steps)
        x = torch.zeros(1, 1)
        for t in scheduler.timesteps:
            x = take(scheduler, net(x, t, prompt)[0], t, x)
            yield x

    other = copy.deepcopy(flow)
    alone = list(draw(other, TWO, STEPS + lead))[-1]
    with frdiff.apply(net, policy, scheduler=flow) as run:
        expected = list(draw(flow, ONE, STEPS))[-1]
        theirs, ours = draw(other, TWO, STEPS + lead), draw(flow, ONE, STEPS)
        for _ in range(lead):
            next(theirs)
        pairs = list(zip(ours, theirs, strict=True))
        assert torch.equal(pairs[-1][1], alone)
        assert torch.equal(pairs[-1][0], expected)
    assert (run.stats.steps, run.stats.keyframes) == (STEPS, len(run.plan.keyframes))


def test_a_call_from_another_thread_is_refused(net, flow):
    raised = []

    def call():
        try:
            net(ONE, flow.timesteps[0], TWO)
        except RuntimeError as error:
            raised.append(str(error))

    with frdiff.apply(net, REUSE, scheduler=flow):
        flow.set_timesteps(STEPS)
        net(ONE, flow.timesteps[0], ONE)
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "in several threads cannot share" in raised[0]
        walk(net, flow)
        thread = threading.Thread(target=walk_anew, args=(net, flow, raised))
        thread.start()
        thread.join()
    assert len(raised) == 1


def walk_anew(net, flow, raised):
    try:
        flow.set_timesteps(STEPS)
        walk(net, flow)
    except Exception as error:
        raised.append(str(error))


def test_nothing_is_said_where_all_is_well(net, flow):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with frdiff.apply(net, REUSE, scheduler=flow):
            flow.set_timesteps(STEPS)
            walk(net, flow)
        frdiff.apply(net, REUSE, scheduler=flow).remove()


def test_inputs_made_anew_for_every_call_are_told_apart_by_their_order(net, flow):
    """Then nothing stands still; a first repetition is computed if its contents changed too."""
    with frdiff.apply(net, REUSE, scheduler=flow) as run:
        for change, keyframes in ((0, 4), (1, 5)):
            flow.set_timesteps(STEPS)
            for i, t in enumerate(flow.timesteps):
                for value in (1, 2):
                    net(text(i), t.clone(), text(value + change * i))
                take(flow, ONE, t, ONE)
            assert (run.stats.keyframes, run.stats.reuse_steps) == (keyframes, STEPS - keyframes)
