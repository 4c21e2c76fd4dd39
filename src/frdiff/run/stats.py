"""Figures of a run: what its steps and denoiser calls did, and what they cost."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from frdiff.catalogue import example_call
from frdiff.cost import CallCost, call_cost
from frdiff.network.calls import outline
from frdiff.network.hollow import Example
from frdiff.network.layout import Layout
from frdiff.plan import Action
from frdiff.policy import Policy, RangePolicy, TablePolicy
from frdiff.run.patch import DenoiserPatch

__all__ = ["Costs", "Stats", "Tally", "on_device"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stats:
    """What a run did and what it cost.

    Of a pipeline whose call makes several runs, all of them together.

    Attributes:
        steps: steps that ended.
        keyframes: steps computed in full.
        reuse_steps: steps with stored features.
        jumps: steps without a network call. A step that did not call the denoiser at all is none
            of the four.
        halves: steps that computed one half of guidance, or the first of its calls.
        macs: multiply-accumulates of all denoiser calls; None if they cannot be counted.
        macs_full: the same run with every call in full.
        bank_bytes: bytes stored now, on the device; 0 once the run has ended.
        bank_bytes_peak: most bytes stored at a time, on the device.
        bank_bytes_by_way: the same by how they are held: "scores", and features "plain", "half",
            "int8" or "low rank"; beside them what is in the memory of the host, "host", and what
            that is forecast to be, "forecast".
        seconds: wall-clock time from the first denoiser call to the end of the last step.
        held_back: share of their extrapolation that checked jumps did without, on average over
            jumps and samples, those left out that had too few keyframes to tell; None if none was
            checked. Reading it waits for the device.
        tuned_share: steps of the policy over those of the full run that it was tuned against; None
            where it was not tuned.
    """

    steps: int
    keyframes: int
    reuse_steps: int
    jumps: int
    macs: int | None
    macs_full: int | None
    bank_bytes: int
    bank_bytes_peak: int
    seconds: float
    held_back: float | None = None
    halves: int = 0
    bank_bytes_by_way: Mapping[str, int] = field(default_factory=dict)
    tuned_share: float | None = None

    @property
    def macs_ratio(self) -> float | None:
        """`macs / macs_full`; 1 if nothing has run, None if they cannot be counted."""
        if self.macs is None or self.macs_full is None:
            return None
        return self.macs / self.macs_full if self.macs_full else 1.0

    @property
    def speedup(self) -> float | None:
        """MACs of the full run that the policy was tuned against, over these.

        None if it was not tuned, if nothing has run, or if they cannot be counted.
        """
        if self.tuned_share is None or not self.macs or not self.macs_full:
            return None
        return self.macs_full / self.tuned_share / self.macs

    def __str__(self) -> str:
        macs = "MACs unknown"
        if self.speedup is not None and self.macs is not None:
            macs = f"{self.macs / 1e9:.2f} GMACs, {self.speedup:.2f}x fewer than the full run"
        elif self.macs is not None and self.macs_full is not None:
            macs = f"{self.macs / 1e9:.2f} of {self.macs_full / 1e9:.2f} GMACs"
            macs += f" ({self.macs_ratio:.2f})"
        halves = f", {self.halves} halves" if self.halves else ""
        held = "" if self.held_back is None else f", {self.held_back:.0%} held back"
        return (
            f"{self.steps} steps: {self.keyframes} keyframes, {self.reuse_steps} reuse, "
            f"{self.jumps} jumps{halves}{held}; {macs}; bank {self.bank_bytes_peak / 2**20:.1f} "
            f"MiB at most; {self.seconds:.2f} s"
        )


def on_device(held: Counter[str]) -> int:
    """Of what a bank holds, see `Bank.held`, the bytes that are not in the memory of the host."""
    return held.total() - held["host"]


class Costs:
    """What calls of the patched denoisers cost, counted when first asked for."""

    def __init__(self, patches: Sequence[DenoiserPatch], policy: Policy) -> None:
        self._patches = patches
        self._policy = policy
        self._examples: dict[tuple[int, Any], Example] = {}
        self._known: dict[tuple[int, int, Any], CallCost] = {}

    @property
    def tuned_share(self) -> float | None:
        """Steps of the policy over those of the full run that it was tuned against, if it was."""
        origin = self._policy.origin
        full_steps = 0.0 if origin is None else origin.figures.get("full_steps", 0.0)
        if not isinstance(self._policy, TablePolicy | RangePolicy) or full_steps <= 0:
            return None
        return self._policy.num_steps / full_steps

    def learn(self, number: int, call: tuple[tuple, dict[str, Any]]) -> tuple[Any, torch.device]:
        """The outline of a call of a denoiser, and where it ran."""
        key = number, outline(call)
        if key not in self._examples:
            self._examples[key] = Example(*call)
        return key[1], self._examples[key].device

    def example(self, number: int, shapes: Any) -> Example:
        """The arguments of a call with this outline, without their memory."""
        return self._examples[number, shapes]

    def of(self, number: int, shapes: Any) -> CallCost:
        """The cost of a call with this outline.

        Raises:
            Exception: whatever the denoiser raises on such inputs.
        """
        patch = self._patches[number]
        key = number, patch.generation, shapes
        if key not in self._known:
            example = self._examples[number, shapes]
            self._known[key] = call_cost(patch.denoiser, self._policy, example)
        return self._known[key]

    def as_laid_out(self, number: int, shapes: Any) -> CallCost:
        """The same with what is stored as all calls seen so far allow.

        Raises:
            Exception: whatever the denoiser raises on such inputs.
        """
        return replace(self.of(number, shapes), layout=self._patches[number].layout)

    def layout(self, number: int, shapes: Any) -> Layout:
        """What calls of a denoiser with this outline allow."""
        try:
            return self.of(number, shapes).layout
        except Exception as error:  # whatever a model's own code may raise
            return self._alone(number, error)

    def layout_ahead(self, number: int) -> Layout:
        """What calls allow as the denoiser's pipelines make them, where none is seen."""
        denoiser = self._patches[number].denoiser
        try:
            example = Example((), example_call(denoiser, "cpu"))
            return call_cost(denoiser, self._policy, example).layout
        except Exception as error:  # whatever a model's own code may raise
            return self._alone(number, error)

    def _alone(self, number: int, error: Exception) -> Layout:
        patch = self._patches[number]
        name = type(patch.denoiser).__name__
        logger.info("%s is stored target by target, not in runs: %s", name, error)
        return Layout.alone(len(patch.targets))

    def macs(self, tally: "Tally") -> tuple[int, int] | tuple[None, None]:
        """MACs of all calls, and of the same calls in full."""
        macs = macs_full = 0
        for (number, shapes, action, computed), calls in tally.calls.items():
            try:
                cost = self.as_laid_out(number, shapes)
            except Exception as error:  # whatever a model's own code may raise
                name = type(self._patches[number].denoiser).__name__
                logger.warning("MACs of %s cannot be counted: %s", name, error)
                return None, None
            patch = self._patches[number]
            if action is Action.KEYFRAME:
                macs += calls * (cost.keyframe_macs if self._policy.reuses else cost.macs)
            elif action is Action.REUSE:
                skipped = [group not in computed for group in patch.groups]
                macs += calls * cost.partial_macs(skipped)
            elif action is Action.HALF:
                macs += calls * cost.macs // 2
            macs_full += calls * cost.macs
        return macs, macs_full


class Tally:
    """Counts of steps and calls.

    Attributes:
        steps: that ended.
        actions: what those did that called a denoiser.
        calls: by denoiser, outline of its arguments, action and computed groups.
        held_back: of every call of a checked jump, see `Stats`, on its device.
        peak: most bytes stored at a time, by way.
        seconds: of all runs but the current one.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.actions: Counter[Action] = Counter()
        self.calls: Counter[tuple[int, Any, Action, frozenset[int]]] = Counter()
        self.held_back: list[Tensor] = []
        self.peak: Counter[str] = Counter()
        self.seconds = 0.0

    def stats(self, costs: Costs, stored: int, seconds: float) -> Stats:
        """The figures.

        Args:
            stored: bytes now.
            seconds: of the current run.
        """
        macs, macs_full = costs.macs(self)
        held = [share.item() for share in self.held_back]
        return Stats(
            steps=self.steps,
            keyframes=self.actions[Action.KEYFRAME],
            reuse_steps=self.actions[Action.REUSE],
            jumps=self.actions[Action.JUMP],
            halves=self.actions[Action.HALF],
            macs=macs,
            macs_full=macs_full,
            bank_bytes=stored,
            bank_bytes_peak=on_device(self.peak),
            bank_bytes_by_way=dict(self.peak),
            seconds=self.seconds + seconds,
            held_back=sum(held) / len(held) if held else None,
            tuned_share=costs.tuned_share,
        )
