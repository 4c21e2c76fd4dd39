"""What a policy is to save on a published model, before anything is downloaded."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from frdiff.budget import bank_bytes
from frdiff.catalogue import example_call
from frdiff.catalogue.full_size import FullSize
from frdiff.cost import CallCost, call_cost, run_macs
from frdiff.network.hollow import Example
from frdiff.plan import Action
from frdiff.policy import Policy

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True)
class Prediction:
    """What a policy does to a published model.

    Attributes:
        model: its name.
        class_name: in diffusers.
        at: size of what is made.
        batch: samples in a call.
        cost: of a call, with the policy's targets.
        keyframes, reuse_steps, jumps, halves: of the run, as it is planned.
        macs, macs_full: of a run with one call a step, with the policy and without.
        bank_bytes: most that are stored at a time, in 16 bits.
    """

    model: str
    class_name: str
    at: str
    batch: int
    cost: CallCost
    keyframes: int
    reuse_steps: int
    jumps: int
    halves: int
    macs: int
    macs_full: int
    bank_bytes: int

    @property
    def speedup(self) -> float:
        """How many times fewer MACs the run takes."""
        return self.macs_full / self.macs

    def to_dict(self) -> dict[str, Any]:
        """The fields by name with the speed-up, ready for JSON."""
        figures = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return figures | {"cost": self.cost.to_dict(), "speedup": self.speedup}


def predict(model: FullSize, policy: Policy, num_steps: int) -> Prediction:
    """What a policy does to a run of a published model.

    Raises:
        ValueError: a policy for another step count, or for other modules.
    """
    plan = policy.plan(num_steps)
    denoiser = model.build()
    cost = call_cost(denoiser, policy, Example((), example_call(denoiser, "cpu", **model.call)))
    return Prediction(
        model.name,
        model.class_name,
        model.call_size.at,
        model.call_size.batch,
        cost,
        keyframes=plan.count(Action.KEYFRAME),
        reuse_steps=plan.count(Action.REUSE),
        jumps=plan.count(Action.JUMP),
        halves=plan.count(Action.HALF),
        macs=run_macs(cost, policy, num_steps),
        macs_full=cost.macs * num_steps,
        bank_bytes=bank_bytes(cost, policy, num_steps, torch.bfloat16),
    )
