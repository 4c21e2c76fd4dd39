"""What the bench compares: fewer steps, the paper's policies, ours, and peers; each as a curve."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.bench.peers import attach_peer
from frdiff.models import shipped_policies
from frdiff.policy import (
    AdaptivePolicy,
    JumpPolicy,
    KeyframePolicy,
    Policy,
    UniformPolicy,
    loads,
)
from frdiff.run import Run
from frdiff.setting import Setting

__all__ = ["FULL", "Method", "all_methods", "quick_methods", "tuned_methods"]


@dataclass(frozen=True)
class Method:
    """One setting of one way to draw faster.

    Attributes:
        family: the curve it belongs to, as the legend says.
        setting: what tells it from others of its family.
        steps: `num_inference_steps`.
        scheduler: a key of `frdiff.sampling.SCHEDULERS`.
        policy: of ours; None for the untouched pipeline and for peers.
        peer: a name in `frdiff.bench.peers.PEERS`; None for everything else.
        options: arguments of the peer.
    """

    family: str
    setting: str
    steps: int
    scheduler: str = "dpm++"
    policy: Policy | None = None
    peer: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """What defines the method, ready for JSON."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["policy"] = None if self.policy is None else json.loads(self.policy.dumps())
        content["options"] = dict(self.options)
        return content

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """The method that `config` defines.

        Raises:
            ValueError: fields unknown or missing, or a policy that is none.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if config.keys() != known:
            raise ValueError(f"a method has the fields {sorted(known)}, got {sorted(config)}")
        policy = config["policy"] and loads(json.dumps(config["policy"]))
        options = tuple(sorted(config["options"].items()))
        return cls(**(config | {"policy": policy, "options": options}))

    @property
    def policy_hash(self) -> str | None:
        """The first 12 digits of the SHA-256 of the policy file."""
        if self.policy is None:
            return None
        return hashlib.sha256(self.policy.dumps().encode()).hexdigest()[:12]

    @contextmanager
    def attached(
        self, pipe: DiffusionPipeline, guidance: float | None = None
    ) -> Iterator[tuple[Any, Run | None]]:
        """What to sample from, and the run of a policy. `pipe` is as before afterwards.

        Args:
            guidance: at which a peer that needs a calibration run makes it.

        Raises:
            ValueError: a peer that is not installed or does not support the model.
        """
        with Setting(self.steps, self.policy, self.scheduler).attached(pipe) as run:
            if self.peer is None:
                yield pipe, run
                return
            options = dict(self.options)
            with attach_peer(self.peer, pipe, self.steps, guidance, options) as patched:
                yield patched, None


FULL_STEPS = 25
MILD = ("interval 2", "interval 3", "threshold 0.08", "threshold 0.12")
THRESHOLDS = (0.05, 0.1, 0.15, 0.2)
JUMP_STEPS = (31, 23, 19, 15, 13)
KARRAS_STEPS = (FULL_STEPS, 20, 16, 14, 12, 10, 9, 8, 7, 6)
TUNED_WITH = "dpm++"  # the scheduler of the full run that most of them were tuned from
FULL = Method("fewer steps, DPM-Solver++", f"{FULL_STEPS} steps", FULL_STEPS)
SOLVERS = {
    "dpm++": "DPM-Solver++",
    "dpm++karras": "DPM-Solver++ Karras",
    "unipc": "UniPC",
    "unipckarras": "UniPC Karras",
    "ddim": "DDIM",
    "euler": "Euler",
}


def fewer_steps(scheduler: str, counts: tuple[int, ...]) -> list[Method]:
    """The untouched pipeline with a scheduler at several step counts."""
    family = f"fewer steps, {SOLVERS[scheduler]}"
    return [Method(family, f"{count} steps", count, scheduler) for count in counts]


def ours(
    interval: int,
    counts: tuple[int, ...],
    forecast: int = 1,
    targets: str = "all",
    scheduler: str = "dpm++",
) -> list[Method]:
    """Features forecast, scores never mixed, at several step counts."""
    order = ("copy", "linear", "quadratic")[forecast]
    policy = UniformPolicy(interval, mixing=False, forecast=forecast, targets=targets, align="end")
    family = f"frdiff, {order}, interval {interval}"
    if targets != "all":
        family += f", targets {targets}"
    if scheduler == "dpm++karras":
        family += ", Karras"
    return [Method(family, f"{count} steps", count, scheduler, policy) for count in counts]


def our_jumps(
    interval: int,
    counts: tuple[int, ...],
    crowding: float,
    forecast: int = 1,
    scheduler: str = "dpm++karras",
) -> list[Method]:
    """Jumps with extrapolated scores on Karras' noise levels, at several step counts."""
    order = ("copy", "linear", "quadratic")[forecast]
    policy = JumpPolicy(interval, crowding, forecast)
    family = f"frdiff, jumps, {order}, interval {interval}, crowding {crowding:g}"
    if scheduler != "dpm++karras":
        family += f", {SOLVERS[scheduler]}"
    return [Method(family, f"{count} steps", count, scheduler, policy) for count in counts]


def adaptive(counts: tuple[int, ...]) -> list[Method]:
    """Keyframes decided while sampling, at several thresholds and step counts."""
    return [
        Method(
            "frdiff, adaptive, linear",
            f"{count} steps, threshold {threshold}",
            count,
            policy=AdaptivePolicy(threshold),
        )
        for count in counts
        for threshold in THRESHOLDS
    ]


def paper(scheduler: str, steps: int, interval: int, **changes: Any) -> Method:
    """The paper's policy, or an ablation of it."""
    policy = UniformPolicy(interval, **changes)
    said = ", ".join(f"{name} {value}" for name, value in changes.items())
    setting = f"interval {interval}" + (f", {said}" if said else "")
    return Method(f"paper, {SOLVERS[scheduler]} {steps}", setting, steps, scheduler, policy)


def jumps(interval: int) -> Method:
    """Reduced NFE alone: the score of the last keyframe stands in between keyframes."""
    keyframes = range(0, 50, interval)
    policy = KeyframePolicy(50, keyframes, [0.0] * 50)
    return Method("jumps only, DDIM 50", f"interval {interval}", 50, "ddim", policy)


def tuned_methods(model: str) -> list[Method]:
    """The policies that were tuned on a shipped model."""
    rows = []
    for asked, policy in shipped_policies(model).items():
        if policy.origin is None:
            raise ValueError(f"policy {asked} of {model} was not tuned: it has no origin")
        steps, solver = policy.origin.num_inference_steps, policy.origin.solver
        setting = f"{asked}: {steps} steps"
        rows.append(Method("tuned", setting, steps, solver or TUNED_WITH, policy))
    return rows


def peer(name: str, family: str, setting: str, steps: int = FULL_STEPS, **options: Any) -> Method:
    """A peer, on the full run's steps unless told otherwise."""
    if steps != FULL_STEPS:
        setting = f"{steps} steps, {setting}"
    return Method(family, setting, steps, peer=name, options=tuple(sorted(options.items())))


def peer_methods() -> list[Method]:
    """Every peer, four or more settings each; with more steps too where that may be worth it."""
    rows = []
    for interval, steps in ((2, 25), (3, 25), (4, 25), (5, 25), (3, 37), (4, 49)):
        every = f"interval {interval}"
        rows += [
            peer("deepcache", "DeepCache", every, steps, interval=interval),
            peer("taylorseer", "TaylorSeer (diffusers)", every, steps, interval=interval),
        ]
        if steps == FULL_STEPS:
            even = "SmoothCache, even schedule"
            rows.append(peer("smoothcache", even, every, interval=interval))
    for ratio in (0.25, 0.5, 0.6, 0.75):
        rows.append(peer("tomesd", "tomesd", f"ratio {ratio}", ratio=ratio))
    for gate, interval in ((15, 1), (10, 1), (10, 5), (5, 5), (5, 2)):
        setting = f"gate {gate}, interval {interval}"
        rows.append(peer("tgate", "T-GATE", setting, gate_step=gate, sp_interval=interval))
    for threshold, steps in ((0.08, 25), (0.12, 25), (0.2, 25), (0.35, 25), (0.12, 37), (0.2, 37)):
        said = f"threshold {threshold}"
        for family, taylor in (("cache-dit", False), ("cache-dit, TaylorSeer", True)):
            rows.append(peer("dbcache", family, said, steps, threshold=threshold, taylor=taylor))
        rows += [
            peer("firstblock", "FirstBlockCache (diffusers)", said, steps, threshold=threshold),
            peer("magcache", "MagCache (diffusers)", said, steps, threshold=threshold),
        ]
    # Steps even in time limit what any of them can reach.
    return rows + [
        replace(row, family=f"{row.family}, Karras", scheduler="dpm++karras")
        for row in rows
        if row.setting in MILD
    ]


def quick_methods(peers: bool) -> list[Method]:
    """Enough for a picture in minutes; `all_methods` has them too."""
    rows = [
        *fewer_steps("dpm++", (FULL_STEPS, 16, 13, 8, 6)),
        *fewer_steps("dpm++karras", (16, 12, 10, 8, 7)),
        *fewer_steps("unipckarras", (16, 12, 10, 8, 7)),
        *(row for crowding in (1.0, 1.3) for row in our_jumps(2, JUMP_STEPS, crowding)),
        *ours(3, (31, 25, 20, 17)),
        *(paper("ddim", 50, interval) for interval in (2, 3, 5)),
        *(row for solver in ("unipc", "ddim", "euler") for row in fewer_steps(solver, (12, 8))),
    ]
    return rows + (peer_methods() if peers else [])


def all_methods(peers: bool) -> list[Method]:
    """Everything, the ablations of the paper's policy too."""
    rows = [
        *fewer_steps("dpm++", (50, 35, FULL_STEPS, 20, 16, 13, 11, 10, 9, 8, 7, 6)),
        *fewer_steps("dpm++karras", KARRAS_STEPS),
        *fewer_steps("unipckarras", KARRAS_STEPS),
        *(
            row
            for solver in ("unipc", "ddim", "euler")
            for row in fewer_steps(solver, (50, 25, 16, 12, 10, 8, 6))
        ),
        *ours(2, (31, 25, 21, 17, 16, 14, 12)),
        *ours(3, (37, 31, 28, 25, 22, 20, 17)),
        *ours(4, (41, 33, 29, 25, 21)),
        *ours(6, (49, 43, 37, 31)),
        *ours(2, (31, 25, 17), scheduler="dpm++karras"),
        *ours(3, (37, 31, 25), scheduler="dpm++karras"),
        *(row for crowding in (1.0, 1.15, 1.3) for row in our_jumps(2, JUMP_STEPS, crowding)),
        *our_jumps(2, (23, 15), 1.0, forecast=2),
        *our_jumps(3, (34, 22), 1.15),
        *our_jumps(2, (23, 15), 1.0, scheduler="unipckarras"),
        *our_jumps(2, (23, 15, 13), 1.3, scheduler="unipckarras"),
        *adaptive((37, 25)),
        *(row for order in (0, 2) for row in ours(2, (25, 17), order)),
        *(row for order in (0, 2) for row in ours(3, (31, 20), order)),
        *ours(3, (31, 25, 20, 17), targets="residual"),
        *ours(5, (41, 31, 26), targets="residual"),
    ]
    for interval in (2, 3, 4, 5):
        rows += [
            paper("ddim", 50, interval),
            paper("ddim", 50, interval, bias=0.3),
            paper("ddim", 50, interval, mixing=False),
            jumps(interval),
        ]
    for interval in (2, 3):
        rows += [
            paper("ddim", 50, interval, mixing=False, targets="residual"),
            paper("ddim", FULL_STEPS, interval),
        ]
    rows += [paper("dpm++", FULL_STEPS, interval) for interval in (2, 3, 4, 5)]
    return rows + (peer_methods() if peers else [])
