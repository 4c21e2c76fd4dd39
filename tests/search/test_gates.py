"""Gates: planted keyframes are found, gradients are right, memory does not grow."""

import numpy as np
import pytest
import torch

from conftest import ddim, make_dit_pipe
from frdiff.network.denoisers import frozen
from frdiff.search.gates import _gated, learn_gates, open_gates
from frdiff.search.subject import Batch, LoopSubject, PipelineSubject

STEPS = 6
PLANTED = (2, 4)


class Stairs(torch.nn.Module):
    """A denoiser whose only feature changes at planted steps and nowhere else."""

    def __init__(self, timesteps, planted=PLANTED):
        super().__init__()
        self.planted = planted
        self.inner = torch.nn.Linear(4, 4)
        self.inner.weight.data = torch.eye(4)
        # In different directions, so that errors at different steps do not cancel.
        self.levels = 5 * torch.eye(4)
        self.timesteps = timesteps

    def forward(self, x, t):
        step = int((self.timesteps == t).nonzero()[0])
        level = self.levels[sum(planted <= step for planted in self.planted)]
        return (0.5 * x + self.inner(level.expand_as(x)),)


def looping(net, scheduler):
    """A loop of `STEPS` steps over two samples."""

    def loop(generator):
        x = torch.randn(2, 4, generator=generator)
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t)[0], t, x).prev_sample
        return x

    return LoopSubject(loop, net, scheduler)


@pytest.fixture
def stairs():
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    net = Stairs(scheduler.timesteps.clone())

    return looping(net, scheduler)


BATCHES = [Batch(seed, ("",)) for seed in range(4)]


def test_planted_keyframes_are_found(stairs):
    logits = learn_gates(
        stairs, STEPS, BATCHES, targets=["inner"], iterations=400, weight=1e-2, rate=0.02
    )
    assert logits[0] == np.inf
    assert tuple(np.flatnonzero(logits > 0)) == (0, *PLANTED)


@pytest.mark.parametrize("planted", [(1, 2), (3, 4)])
def test_as_many_as_asked_for_are_found_from_an_even_start(stairs, planted):
    subject = looping(Stairs(stairs.denoiser.timesteps, planted), stairs.scheduler)
    logits = learn_gates(subject, STEPS, BATCHES, keyframes=3, targets=["inner"])
    assert sorted(np.argsort(-logits)[:3]) == [0, *planted]


def test_so_many_gates_are_open():
    logits = torch.tensor([-2.0, 0.1, -1.0], requires_grad=True)
    gates = open_gates(logits, 2)
    assert gates.tolist() == [0, 1, 1]
    gates.sum().backward()
    soft = torch.sigmoid(logits.detach())
    assert torch.allclose(logits.grad, soft * (1 - soft))


def test_gates_are_rounded_and_let_the_gradient_through():
    logits = torch.tensor([-2.0, 0.1, 3.0], requires_grad=True)
    gates = open_gates(logits)
    assert gates.tolist() == [0, 1, 1]
    gates.sum().backward()
    soft = torch.sigmoid(logits.detach())
    assert torch.allclose(logits.grad, soft * (1 - soft))


def plain_loss(net, scheduler, gates, seed):
    """The same run by autograd alone: everything kept, features mixed by hand."""
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
    scheduler.set_timesteps(STEPS)
    feature = None
    for step, t in enumerate(scheduler.timesteps):
        level = net.levels[sum(planted <= step for planted in PLANTED)]
        fresh = net.inner(level.expand_as(x) + 0.1 * x)
        feature = fresh if feature is None else gates[step] * fresh + (1 - gates[step]) * feature
        x = scheduler.step(0.5 * x + feature, t, x).prev_sample
    return x


class Mixed(Stairs):
    """Its feature depends on the input too, so that gradients pass through the store."""

    def forward(self, x, t):
        step = int((self.timesteps == t).nonzero()[0])
        level = self.levels[sum(planted <= step for planted in PLANTED)]
        return (0.5 * x + self.inner(level.expand_as(x) + 0.1 * x),)


def test_gradients_are_those_of_plain_autograd(stairs):
    net = Mixed(stairs.denoiser.timesteps)
    logits = torch.linspace(-1, 1, STEPS)[torch.randperm(STEPS, generator=torch.manual_seed(1))]
    logits.requires_grad_()
    scheduler = stairs.scheduler

    gradients = []
    subject = looping(net, scheduler)
    with _gated(net, scheduler, ["inner"]) as gated:
        latents = gated.latents(subject, STEPS, Batch(7, ("",)), open_gates(logits))
        (latents**2).sum().backward()
        gradients.append(logits.grad.clone())
    logits.grad = None
    plain = plain_loss(net, scheduler, open_gates(logits), 7)
    (plain**2).sum().backward()
    assert torch.allclose(latents, plain, atol=1e-6)
    assert torch.allclose(gradients[0], logits.grad, rtol=1e-4, atol=1e-7)
    assert "forward" not in vars(net) and "forward" not in vars(net.inner)


def test_a_pipeline_learns_gates_and_is_as_before():
    pipe = make_dit_pipe()
    subject = PipelineSubject(pipe)
    weights = [weight.requires_grad for weight in pipe.transformer.parameters()]
    seen = []
    logits = learn_gates(
        subject,
        6,
        [Batch(0, ("1",))],
        iterations=2,
        on_iteration=lambda done, loss, logits: seen.append((done, loss)),
    )
    assert logits.shape == (6,)
    assert [done for done, _ in seen] == [1, 2]
    assert all(np.isfinite(loss) for _, loss in seen)
    assert [weight.requires_grad for weight in pipe.transformer.parameters()] == weights
    assert all(weight.grad is None for weight in pipe.transformer.parameters())
    assert all("forward" not in vars(module) for module in pipe.transformer.modules())
    assert "step" not in vars(pipe.scheduler)


def kept_bytes(steps):
    """Bytes that the forward half of an iteration keeps for the backward half."""
    pipe = make_dit_pipe()
    held: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    subject = PipelineSubject(pipe)
    with (
        frozen(subject.modules),
        _gated(pipe.transformer, pipe.scheduler, "paper") as gated,
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        gates = torch.ones(steps, requires_grad=True)
        gated.latents(subject, steps, Batch(0, ("1",)), gates)
    return sum(held.values())


def test_memory_grows_by_latents_alone():
    latent = 2 * 4 * 8 * 8 * 4  # guidance, channels, sides, bytes
    grown = (kept_bytes(20) - kept_bytes(10)) / 10
    assert grown <= 12 * latent


def test_a_loop_without_gradients_is_refused(stairs):
    closed = LoopSubject(torch.no_grad()(stairs.loop), stairs.denoiser, stairs.scheduler)
    with pytest.raises(ValueError, match="lets no gradient through"):
        learn_gates(closed, STEPS, BATCHES, targets=["inner"], iterations=1)


def test_a_loop_of_another_length_is_refused(stairs):
    with pytest.raises(ValueError, match=f"takes {STEPS} steps, expected 10"):
        learn_gates(stairs, 10, BATCHES, targets=["inner"], iterations=1)
