"""Learnt solvers: nearer where the answer is known, never freer than they are told to be."""

import pytest
import torch
from diffusers import DDIMPipeline, DPMSolverMultistepScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from conftest import SCHEDULER, make_dit_pipe, make_pipe
from frdiff.evaluation.opponents.forms import euler, linear_form
from frdiff.evaluation.opponents.freedom import Freedom
from frdiff.evaluation.opponents.learnt import best_of, learn, learnt_solver, loss_of
from frdiff.evaluation.opponents.levels import levels_of, noise_of
from frdiff.evaluation.opponents.linear import LinearScheduler, LinearSolver
from frdiff.evaluation.opponents.loops import final_latents, in_parts
from frdiff.search.subject import Batch, PipelineSubject

STEPS = 4
SPREAD = 0.5
BATCHES = [Batch(0, ("1", "2")), Batch(7, ("3", "4"))]


class Gaussian(ModelMixin, ConfigMixin):
    """The exact denoiser of data with independent values of standard deviation `SPREAD`."""

    @register_to_config
    def __init__(self, in_channels=3, sample_size=4):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, sample, timestep):
        levels = noise_of(SOLVER).known.exp().to(sample)
        # Between training times too, with a gradient.
        low = timestep.detach().long().clamp(max=998)
        level = levels[low] ** (low + 1 - timestep) * levels[low + 1] ** (timestep - low)
        noisy = sample * (1 + level**2).sqrt()
        return Output(self.weight * noisy * level / (SPREAD**2 + level**2))


class Output:
    def __init__(self, sample):
        self.sample = sample


SOLVER = DPMSolverMultistepScheduler(**SCHEDULER, use_karras_sigmas=True)


@pytest.fixture
def subject():
    pipe = DDIMPipeline(Gaussian(), SOLVER)
    pipe.set_progress_bar_config(disable=True)
    return PipelineSubject(pipe, latents=True)


@pytest.fixture
def start():
    scheduler = DPMSolverMultistepScheduler.from_config(SOLVER.config)
    scheduler.set_timesteps(STEPS)
    return euler(levels_of(scheduler))


def solution(start, batches=BATCHES):
    """Every value is carried to where its share of the spread lies."""
    first = start.levels[0]
    share = SPREAD * (1 + first**2).sqrt() / (SPREAD**2 + first**2).sqrt()
    draws = [
        torch.stack(
            [
                torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(batch.seed + i))[0]
                for i in range(len(batch.prompts))
            ]
        )
        for batch in batches
    ]
    return [share * noise for noise in draws]


def test_many_steps_come_to_the_solution(subject, start):
    scheduler = DPMSolverMultistepScheduler.from_config(SOLVER.config)
    for batch, true in zip(BATCHES, solution(start), strict=True):
        with torch.no_grad():
            drawn = final_latents(subject, scheduler, 200, batch)
            # The last step, from the lowest level to 0, leaves a part in 600.
            assert torch.allclose(drawn, true, rtol=2e-3)


FREEDOMS = {
    "all": Freedom(),
    "weights": Freedom(times=False, own=False),
    "two weights": Freedom(window=2, times=False, own=False),
    "rows sum to 1": Freedom(sums=False),
    "times": Freedom(window=1, sums=False, own=False),
}


@pytest.mark.parametrize("freedom", FREEDOMS.values(), ids=FREEDOMS)
def test_learning_comes_nearer_and_keeps_what_is_not_free(subject, start, freedom):
    wanted = solution(start)
    losses = []
    found = learn(
        subject,
        start,
        BATCHES,
        wanted,
        iterations=60,
        rate=0.03,
        freedom=freedom,
        on_iteration=lambda done, loss, solver: losses.append(loss),
    )
    assert len(losses) == 60
    others = [Batch(50, ("5", "6"))]
    before, after = (
        loss_of(subject, solver, others, solution(start, others)) for solver in (start, found)
    )
    assert after < before - 0.5
    assert (found.levels.diff() < 0).all() and found.levels[-1] == 0
    assert torch.equal(found.levels, start.levels) != freedom.times
    assert (found.own == 0).all().item() != freedom.own
    changed = found.weights - start.weights
    sums = found.weights.sum(1)
    assert torch.allclose(sums, torch.ones(STEPS), atol=1e-5) != freedom.sums
    assert (changed.triu(1) == 0).all()
    assert (changed.tril(-(freedom.window or STEPS)) == 0).all()
    assert not any(weight.grad is not None for weight in subject.pipe.unet.parameters())
    assert all(weight.requires_grad for weight in subject.pipe.unet.parameters())


def test_the_best_start_is_that_of_the_least_loss(subject, start):
    scheduler = DPMSolverMultistepScheduler.from_config(SOLVER.config)
    second = linear_form(scheduler, STEPS)
    wanted = solution(start)
    losses = [loss_of(subject, solver, BATCHES, wanted) for solver in (start, second)]
    best = best_of(subject, [start, second], BATCHES, wanted)
    assert best is (start, second)[losses.index(min(losses))]


@pytest.mark.parametrize("make", [make_dit_pipe, make_pipe], ids=["DiT", "Stable Diffusion"])
def test_weights_that_were_planted_are_approached_through_real_pipelines(make):
    pipe = make()
    embeds = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))
    inputs = (
        {}
        if make is make_dit_pipe
        else {
            "prompt_embeds": embeds,
            "negative_prompt_embeds": 0 * embeds,
            "height": 16,
            "width": 16,
        }
    )
    subject = PipelineSubject(pipe, 1.5, latents=True, inputs=inputs, per_call=1)
    start = linear_form(SOLVER, STEPS)
    planted = LinearSolver(start.levels, 1.05 * start.weights, start.own + 0.02)
    batch = Batch(0, ("1",))
    with torch.no_grad():
        scheduler = LinearScheduler.of(planted, noise_of(pipe.scheduler))
        wanted = [final_latents(subject, scheduler, STEPS, batch)]
    own = pipe.scheduler
    found = learn(subject, start, [batch], wanted, iterations=8, rate=0.01)
    before, after = (loss_of(subject, each, [batch], wanted) for each in (start, found))
    assert after < before - 0.5
    assert pipe.scheduler is own and "forward" not in vars(subject.denoisers[0])


def kept_bytes(steps):
    """Bytes that the graph of a run with gradients keeps."""
    subject = PipelineSubject(make_dit_pipe(), 1.5, latents=True)
    weights = torch.eye(steps, requires_grad=True)
    solver = LinearSolver(torch.linspace(10, 0, steps + 1), weights, torch.zeros(steps))
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for weight in subject.denoisers[0].parameters():
        weight.requires_grad_(False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scheduler = LinearScheduler.of(solver, noise_of(subject.scheduler))
        final_latents(subject, scheduler, steps, Batch(0, ("1",)))
    return sum(held.values())


def test_memory_grows_by_latents_alone():
    latent = 2 * 4 * 8 * 8 * 4  # guidance, channels, sides, bytes
    assert (kept_bytes(20) - kept_bytes(10)) / 10 <= 12 * latent


def test_a_solver_is_learnt_from_the_best_start_at_the_best_rate(subject):
    parts = [Batch(0, ("", "", "")), Batch(3, ("", "", ""))]
    found = learnt_solver(subject, STEPS, parts, iterations=20, times=False)
    wanted = solution(found, parts)
    schedulers = (
        DPMSolverMultistepScheduler.from_config(SOLVER.config, use_karras_sigmas=karras)
        for karras in (False, True)
    )
    starts = [linear_form(scheduler, STEPS) for scheduler in schedulers]
    losses = [loss_of(subject, start, parts, wanted) for start in starts]
    assert loss_of(subject, found, parts, wanted) < min(losses)
    assert any(torch.equal(found.levels, start.levels) for start in starts)


def test_parts_of_a_batch_are_drawn_as_the_whole_is():
    batches = [Batch(3, ("1", "2", "3"), 7.5), Batch(9, ("4",), 2.0)]
    assert in_parts(batches, 2) == [
        Batch(3, ("1", "2"), 7.5),
        Batch(5, ("3",), 7.5),
        Batch(9, ("4",), 2.0),
    ]
