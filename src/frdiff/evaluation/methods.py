"""One setting of one way to draw faster, and the families of settings that the bench measures."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.evaluation.peers import PEERS, attach_peer
from frdiff.models import shipped_policies
from frdiff.policy import (
    AdaptivePolicy,
    JumpPolicy,
    KeyframePolicy,
    Policy,
    UniformPolicy,
    loads,
)
from frdiff.run.applying import Run
from frdiff.sampling import CONVERGED, CONVERGED_STEPS
from frdiff.search.subject import Batch, PipelineSubject
from frdiff.setting import Setting

__all__ = [
    "FULL",
    "REFERENCE",
    "Method",
    "adaptive",
    "fewer_steps",
    "jumps",
    "opponents",
    "our_jumps",
    "ours",
    "paper",
    "peer",
    "solver_label",
    "tuned_methods",
]


@dataclass(frozen=True)
class Method:
    """One setting of one way to draw faster.

    Attributes:
        family: the curve it belongs to, as the legend says.
        setting: what tells it from others of its family.
        steps: `num_inference_steps`.
        scheduler: a name for `frdiff.set_scheduler`.
        policy: of ours; None for the untouched pipeline and for peers.
        peer: a name in `frdiff.evaluation.peers.PEERS`; None for everything else.
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

    @property
    def is_foreign(self) -> bool:
        """Whether it takes a package of others."""
        return self.peer is not None and PEERS[self.peer].package is not None

    def calibrated(self, subject: PipelineSubject, batches: Sequence[Batch]) -> "Method":
        """The same, ready to be attached many times: what a peer chooses is chosen.

        Args:
            subject: the pipeline; it is as before afterwards.
            batches: to calibrate on, where a peer needs that.
        """
        calibrate = None if self.peer is None else PEERS[self.peer].calibrate
        if calibrate is None:
            return self
        with Setting(self.steps, None, self.scheduler).attached(subject.pipe):
            chosen = calibrate(subject, self.steps, batches, **dict(self.options))
        return dataclasses.replace(self, options=tuple(chosen.items()))

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


THRESHOLDS = (0.05, 0.1, 0.15, 0.2)
# Of diffusion models; see `frdiff.evaluation.suites` for the others.
FULL = Method("fewer steps, DPM-Solver++", "25 steps", 25)
REFERENCE = Method("reference", f"{CONVERGED_STEPS} steps", CONVERGED_STEPS, CONVERGED)
SOLVERS = {
    "dpm++": "DPM-Solver++",
    "dpm++karras": "DPM-Solver++ Karras",
    "unipc": "UniPC",
    "unipckarras": "UniPC Karras",
    "ddim": "DDIM",
    "euler": "Euler",
    "heun": "Heun",
}


def solver_label(scheduler: str) -> str:
    """What the page calls a scheduler: "flow-euler-shift-1.5" is "Euler shift 1.5"."""
    if not scheduler.startswith("flow-"):
        return SOLVERS[scheduler]
    _, solver, *levels = scheduler.split("-")
    return " ".join([SOLVERS[solver], *levels]).replace("karras", "Karras")


def fewer_steps(scheduler: str, counts: tuple[int, ...]) -> list[Method]:
    """The untouched pipeline with a scheduler at several step counts."""
    family = f"fewer steps, {solver_label(scheduler)}"
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
    if scheduler != "dpm++":
        family += ", Karras" if scheduler == "dpm++karras" else f", {solver_label(scheduler)}"
    return [Method(family, f"{count} steps", count, scheduler, policy) for count in counts]


def our_jumps(
    interval: int,
    counts: tuple[int, ...],
    crowding: float,
    forecast: int = 1,
    scheduler: str = "dpm++karras",
    checked: bool = False,
) -> list[Method]:
    """Jumps with extrapolated scores on Karras' noise levels, at several step counts."""
    order = ("copy", "linear", "quadratic")[forecast]
    policy = JumpPolicy(interval, crowding, forecast, checked=checked)
    family = f"frdiff, {'checked ' if checked else ''}jumps, {order}, interval {interval}"
    family += f", crowding {crowding:g}"
    if scheduler != "dpm++karras":
        family += f", {solver_label(scheduler)}"
    return [Method(family, f"{count} steps", count, scheduler, policy) for count in counts]


def adaptive(counts: tuple[int, ...], scheduler: str = "dpm++") -> list[Method]:
    """Keyframes decided while sampling, at several thresholds and step counts."""
    return [
        Method(
            "frdiff, adaptive, linear",
            f"{count} steps, threshold {threshold}",
            count,
            scheduler,
            AdaptivePolicy(threshold),
        )
        for count in counts
        for threshold in THRESHOLDS
    ]


def paper(scheduler: str, steps: int, interval: int, **changes: Any) -> Method:
    """The paper's policy, or an ablation of it."""
    policy = UniformPolicy(interval, **changes)
    said = ", ".join(f"{name} {value}" for name, value in changes.items())
    setting = f"interval {interval}" + (f", {said}" if said else "")
    return Method(f"paper, {solver_label(scheduler)} {steps}", setting, steps, scheduler, policy)


def jumps(scheduler: str, steps: int, interval: int) -> Method:
    """Reduced NFE alone: the score of the last keyframe stands in between keyframes."""
    keyframes = range(0, steps, interval)
    policy = KeyframePolicy(steps, keyframes, [0.0] * steps)
    family = f"jumps only, {solver_label(scheduler)} {steps}"
    return Method(family, f"interval {interval}", steps, scheduler, policy)


def peer(name: str, family: str, setting: str, full: Method, steps: int, **options: Any) -> Method:
    """A peer, on the full run's solver, and on its steps unless the setting says otherwise."""
    if steps != full.steps:
        setting = f"{steps} steps, {setting}"
    arguments = tuple(sorted(options.items()))
    return Method(family, setting, steps, full.scheduler, peer=name, options=arguments)


def opponents(
    name: str, family: str, scheduler: str, counts: tuple[int, ...], **options: Any
) -> list[Method]:
    """An opponent of `frdiff.evaluation.opponents` with several numbers of network calls."""
    arguments = tuple(sorted(options.items()))
    said = "".join(f", {name} {value}" for name, value in arguments)
    return [
        Method(family, f"{count} calls{said}", count, scheduler, peer=name, options=arguments)
        for count in counts
    ]


def tuned_methods(model: str, scheduler: str) -> list[Method]:
    """The policies that were tuned on a shipped model.

    Args:
        scheduler: of the full run, which those that keep the pipeline's own were tuned from.
    """
    rows = []
    for asked, policy in shipped_policies(model).items():
        if policy.origin is None:
            raise ValueError(f"policy {asked} of {model} was not tuned: it has no origin")
        steps, solver = policy.origin.num_inference_steps, policy.origin.solver
        setting = f"{asked}: {steps} steps"
        rows.append(Method("tuned", setting, steps, solver or scheduler, policy))
    return rows
