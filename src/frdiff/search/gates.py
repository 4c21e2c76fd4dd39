"""Auto-FR as published: keyframes learnt by gradient through the whole sampling loop.

Every step but the first has a gate. It says whether the step computes its features or takes those
of the last step that did; the gradient passes straight through the rounding. The loss is the mean
squared difference of the final latents to the full run's. The model stays in eval mode; the
released script leaves it in train mode, which drops class labels at random.

As published, a gate is open where its logit is above 0, and every open gate has a price. All begin
open, where the loss is at its least and only the price has a gradient, so all close in the same
iteration; the loss of nothing but reuse is then so large that Adam hardly moves them afterwards.
With a number of keyframes, as `tune` has from its budget, the gates of the largest logits are open,
evenly spaced at first, and open gates have no price.

Memory does not grow with the number of steps but for latents: a denoiser call keeps its input
alone and is run again when its gradient is asked for, and the features it had in store are made
again from the input of the step they come from.

References:
    FRDiff: Feature Reuse for Universal Training-free Acceleration of Diffusion Models
    (So, Lee, Park, ECCV 2024, arXiv 2312.03517), section on Auto-FR.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frdiff.adapters import Features, Target, find_targets
from frdiff.network.calls import tensor_of
from frdiff.network.denoisers import frozen
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.policy import Targets
from frdiff.schedulers.clock import Clock
from frdiff.search.subject import Batch, Subject

__all__ = ["ITERATIONS", "LOGIT", "RUNS", "evenly", "learn_gates", "open_gates"]

LOGIT = 0.1
EVEN_LOGIT = 0.02  # four iterations from one side to the other
ITERATIONS = 60
# The run with gates, both halves of its gradient, and features made again.
RUNS = 4.5
RATE = 5e-3


def open_gates(logits: Tensor, count: int | None = None) -> Tensor:
    """1 where a step computes, 0 where it reuses, with the gradient of `sigmoid(logits)`.

    Args:
        count: how many are open, those of the largest logits; None opens those above 0.
    """
    soft = logits.sigmoid()
    hard = soft.detach().round()
    if count is not None:
        largest = logits.detach().topk(count).indices
        hard = torch.zeros_like(hard).scatter(0, largest, 1.0)
    return hard + (soft - soft.detach())


def learn_gates(
    subject: Subject,
    num_steps: int,
    batches: Sequence[Batch],
    *,
    keyframes: int | None = None,
    targets: Targets = "paper",
    iterations: int = ITERATIONS,
    weight: float = 1e-3,
    rate: float = RATE,
    on_iteration: Callable[[int, float, np.ndarray], None] = lambda done, loss, logits: None,
) -> np.ndarray:
    """The logits of all steps, shape (steps,). Step 0 always computes, its logit is infinite.

    Args:
        subject: its scheduler takes `num_steps` steps.
        batches: drawn in turns, one per iteration; the paper draws one sample at a time.
        keyframes: how many steps compute, those of the largest logits; None for the published
            price, by which those above 0 do.
        weight: price of an open gate. Larger: fewer keyframes.
        rate: of Adam.
        on_iteration: called with the number done, the loss and the logits.

    Raises:
        ValueError: more than one denoiser, or a loop that does not let gradients through.
    """
    if len(subject.denoisers) != 1:
        raise ValueError(
            f"gates are learnt for one denoiser, got {len(subject.denoisers)}; leave method out"
        )
    (denoiser,) = subject.denoisers
    logits = _first_logits(num_steps, keyframes).requires_grad_()
    whole: dict[int, Tensor] = {}
    optimizer = torch.optim.Adam([logits], lr=rate)
    with _gated(denoiser, subject.scheduler, targets) as loop, frozen(subject.modules):
        for iteration in range(iterations):
            turn = iteration % len(batches)
            batch = batches[turn]
            if turn not in whole:
                with torch.no_grad():
                    whole[turn] = loop.latents(subject, num_steps, batch, torch.ones(num_steps))
            opened = open_gates(logits, None if keyframes is None else keyframes - 1)
            gates = torch.cat([torch.ones(1), opened])
            latents = loop.latents(subject, num_steps, batch, gates)
            if not latents.requires_grad:
                raise ValueError("this loop lets no gradient through; do not run it under no_grad")
            loss = nn.functional.mse_loss(latents.float(), whole[turn].float()).cpu()
            if keyframes is None:
                loss = loss + weight * torch.relu(2 * logits.sigmoid() - 1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            on_iteration(iteration + 1, loss.item(), _numbers(logits))
    return _numbers(logits)


def evenly(num_steps: int, count: int) -> list[int]:
    """`count` evenly spaced keyframes from step 0, as the paper's uniform policy has them."""
    return [i * num_steps // count for i in range(count)]


def _first_logits(num_steps: int, keyframes: int | None) -> Tensor:
    """Of all steps but the first."""
    if keyframes is None:
        return torch.full((num_steps - 1,), LOGIT)
    even = evenly(num_steps, keyframes)
    signs = [1.0 if step in even else -1.0 for step in range(1, num_steps)]
    return EVEN_LOGIT * torch.tensor(signs)


def _numbers(logits: Tensor) -> np.ndarray:
    return np.concatenate([[np.inf], logits.detach().double().numpy()])


@contextmanager
def _gated(denoiser: nn.Module, scheduler: Any, targets: Targets) -> Iterator["_Loop"]:
    """A loop whose denoiser mixes by gates; modules and scheduler are as before afterwards."""
    mixer = _Mixer(denoiser, find_targets(denoiser, targets))
    loop = _Loop(mixer, list(inspect.signature(type(denoiser).forward).parameters)[1])
    clock = Clock(scheduler, loop.begin, loop.end_step)
    own = {module: module.__dict__.get("forward") for module in (*mixer.modules, denoiser)}
    try:
        mixer.attach()
        denoiser.forward = functools.wraps(denoiser.forward)(lambda *a, **k: loop.call(*a, **k))
        yield loop
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward
        clock.detach()


class _Mixer:
    """Runs the denoiser with every target's feature mixed from a fresh and a stored one.

    Attributes:
        stored: the features of all targets, one after the other; None computes all.
        gate: share of the fresh features.
        mixed: what the last pass took, by target.
        places: of every target's features among all.
    """

    def __init__(self, denoiser: nn.Module, targets: list[Target]) -> None:
        self.targets = targets
        self.modules = {m: None for target in targets for m in (target.source, target.module)}
        self.compute: Callable[..., Any] = denoiser.forward
        self.stored: Features | None = None
        self.gate: Tensor | None = None
        self.fresh: dict[int, Features] = {}
        self.forms: dict[int, Any] = {}
        self.mixed: dict[int, Features] = {}
        self.places: dict[int, slice] = {}

    def attach(self) -> None:
        for index, target in enumerate(self.targets):
            self._wrap(index, target)

    def __call__(
        self, gate: Tensor, stored: Features | None, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[Any, Features]:
        """What the denoiser returns, and the features it took."""
        self.stored, self.gate = stored, gate
        self.fresh, self.mixed = {}, {}
        result = self.compute(*args, **kwargs)
        features: list[Tensor] = []
        for index, own in sorted(self.mixed.items()):
            self.places[index] = slice(len(features), len(features) + len(own))
            features += own
        return result, tuple(features)

    def _wrap(self, index: int, target: Target) -> None:
        run_source = target.source.forward

        def keep(*args: Any, **kwargs: Any) -> Any:
            result = run_source(*args, **kwargs)
            self.fresh[index] = target.extract((args, kwargs), result)
            self.forms[index] = form_of(result)
            return result

        target.source.forward = keep
        run_module = target.module.forward

        def mix(*args: Any, **kwargs: Any) -> Any:
            result = run_module(*args, **kwargs)
            fresh = self.fresh[index]
            if self.stored is None or self.gate is None:
                self.mixed[index] = fresh
                return result
            pairs = zip(self.stored[self.places[index]], fresh, strict=True)
            mixed = [torch.lerp(old, new, self.gate.to(new)) for old, new in pairs]
            self.mixed[index] = tuple(mixed)
            return target.rejoin((args, kwargs), self.mixed[index], self.forms[index])

        target.module.forward = mix


@dataclass
class _Call:
    """A denoiser call that can be made again.

    Attributes:
        args: without the sample, which comes first.
        before: the call whose features were in store; None if none were.
        sample: the input, without a gradient.
    """

    args: tuple
    kwargs: dict[str, Any]
    before: "_Call | None"
    sample: Tensor


class _Chain:
    """The calls of one context, one per step.

    Attributes:
        key: the last call that computed.
        form: of what the denoiser returns, see `frdiff.network.trees`.
        stored: its features; while gradients go back, those of `held`.
        gradient: of the features that later calls took from the store.
        thread: ties each call to the one before, so that gradients go back in order.
    """

    def __init__(self, mixer: _Mixer) -> None:
        self.mixer = mixer
        self.key: _Call | None = None
        self.held: _Call | None = None
        self.form: Any = ...
        self.stored: Features | None = None
        self.gradient: tuple[Tensor | None, ...] | None = None
        self.thread = torch.zeros((), requires_grad=torch.is_grad_enabled())

    def features(self, call: _Call | None) -> Features | None:
        """The features of a call that computed, made again unless they are those held."""
        if call is None:
            return None
        if self.held is not call:
            with torch.no_grad():
                one = torch.ones(())
                _, self.stored = self.mixer(one, None, (call.sample, *call.args), call.kwargs)
            self.held = call
        return self.stored


class _Loop:
    """One sampling loop with gates, from its first step to its last latents."""

    def __init__(self, mixer: _Mixer, input_name: str) -> None:
        self.mixer = mixer
        self.input_name = input_name
        self.gates = torch.ones(0)
        self.begin()

    def begin(self) -> None:
        self.step = self.calls = 0
        self.chains: list[_Chain] = []
        self.last: Tensor | None = None

    def latents(self, subject: Subject, num_steps: int, batch: Batch, gates: Tensor) -> Tensor:
        """What the last step returns, with its gradient."""
        self.gates = gates
        self.begin()
        try:
            subject.run(num_steps, batch, gradient=torch.is_grad_enabled())
        except _Ended:
            pass
        if self.last is None:
            raise ValueError(f"the loop took {self.step} steps, expected {num_steps}")
        return self.last

    def end_step(self, index: int, num_steps: int, result: Any) -> None:
        if num_steps != len(self.gates):
            raise ValueError(f"the loop takes {num_steps} steps, expected {len(self.gates)}")
        self.step, self.calls = index + 1, 0
        if self.step == num_steps:
            self.last = tensor_of(result)
            # Nothing after the last step is wanted, such as a decoder.
            raise _Ended

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What stands in for the denoiser's forward."""
        sample = args[0] if args else kwargs.pop(self.input_name)
        if not isinstance(sample, Tensor):
            raise TypeError(
                f"gates are learnt where the denoiser takes one tensor as its first input, got "
                f"{type(sample).__name__}; use method='search'"
            )
        args = args[1:]
        if self.calls == len(self.chains):
            self.chains.append(_Chain(self.mixer))
        chain = self.chains[self.calls]
        self.calls += 1
        call = _Call(args, kwargs, chain.key, sample.detach())
        gate = self.gates[self.step]
        checkpointed: Any = _Checkpointed.apply
        *scores, chain.thread = checkpointed(chain, call, sample, gate, chain.thread)
        if gate.item() == 1 or chain.key is None:
            chain.key = chain.held = call
        return filled(chain.form, scores)


class _Ended(Exception):
    """The last step is over."""


class _Checkpointed(torch.autograd.Function):
    """A denoiser call that keeps its input alone."""

    @staticmethod
    def forward(
        context: Any, chain: _Chain, call: _Call, sample: Tensor, gate: Tensor, thread: Tensor
    ) -> tuple[Tensor, ...]:
        context.chain, context.call = chain, call
        context.gate = gate.detach()
        result, chain.stored = chain.mixer(
            gate.detach(), chain.stored, (sample, *call.args), call.kwargs
        )
        chain.form = form_of(result)
        return (*tensors_in(result), thread.clone())

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple:
        chain, call = context.chain, context.call
        stored = chain.features(call.before) or ()
        with torch.enable_grad():
            sample = call.sample.requires_grad_()
            gate = context.gate.requires_grad_()
            held = tuple(feature.detach().requires_grad_() for feature in stored)
            result, mixed = chain.mixer(gate, held or None, (sample, *call.args), call.kwargs)
            later = chain.gradient or [None] * len(mixed)
            outputs = [
                (output, grad)
                for output, grad in zip(
                    (*tensors_in(result), *mixed), (*gradients[:-1], *later), strict=True
                )
                if grad is not None and output.requires_grad
            ]
            found = torch.autograd.grad(
                [output for output, _ in outputs],
                [sample, gate, *held],
                [grad for _, grad in outputs],
                allow_unused=True,
            )
        sample.requires_grad_(False)
        chain.gradient = found[2:] if held else None
        return None, None, found[0], found[1], torch.zeros(())
