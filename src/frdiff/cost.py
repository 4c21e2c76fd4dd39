"""Costs: MACs, bytes moved and bytes stored of a denoiser call, in full and on a reuse step.

What is counted is the code that runs: a copy of the denoiser without weights makes a full pass on
fake tensors, which computes nothing but whole numbers, needs no memory and leaves the denoiser
itself alone. Where its code stops even so, the denoiser itself makes the pass. What a reuse step
costs follows: all but the targets. A MAC is one multiply-accumulate; embeddings, norms and
element-wise work count as none, and flexible attention counts as if nothing were masked. What such
work takes shows in the bytes that operations read and write, one by one, as they run uncompiled.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from frdiff.adapters import Target, find_targets, grouped
from frdiff.network.calls import copied
from frdiff.network.contents import KnownContents
from frdiff.network.dataflow import Dataflow, Operation, Return
from frdiff.network.denoisers import find_denoisers, frozen
from frdiff.network.hollow import HOOKS, Example, skeleton
from frdiff.network.layout import Layout, layout_of
from frdiff.network.trees import tensors_in
from frdiff.plan import Action
from frdiff.policy import Policy
from frdiff.run.patch import unpatched
from frdiff.sampling import sample
from frdiff.storage import Kind

__all__ = [
    "CPU_ATTENTION",
    "CallCost",
    "TargetCost",
    "call_cost",
    "call_costs",
    "first_call_cost",
    "run_macs",
]


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **kwargs: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))


# Without this the counter takes attention on the CPU for free.
CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}

FORECAST_PASSES = 6
"""Reads and writes of a feature on a reuse step: two keyframes, the forecast, its addition."""

BALANCE = {"cpu": 3.5}
"""MACs in the time of one byte of memory traffic, by type of device. The CPU's is measured: reuse
steps of `"residual"` on `emoji-dit` and `emoji-flow` (docs/search.md)."""

OTHER_BALANCE = 60.0
"""That of accelerators in 16 bits, not measured: an H100's 3.35 TB/s and, of its 495 T MACs/s, the
half that networks reach, give 70; an H200's 4.8 TB/s give 50."""


@dataclass(frozen=True)
class TargetCost:
    """What one target costs.

    Attributes:
        name: dotted module name.
        macs: MACs of the module in a full pass.
        reuse_macs: MACs that remain of it on a reuse step, for its skip path.
        features: the kind of each of its features at one step.
        traffic: bytes that its operations read and write in a full pass.
        reuse_traffic: what remains of them on a reuse step; what the bank moves is not in it.
    """

    name: str
    macs: int
    reuse_macs: int
    features: tuple[Kind, ...]
    traffic: int
    reuse_traffic: int

    @property
    def feature_bytes(self) -> int:
        """Bytes of its features at one step, were they stored by themselves as they are."""
        return sum(kind.nbytes for kind in self.features)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        figures = {"name": self.name, "macs": self.macs, "reuse_macs": self.reuse_macs}
        figures |= {"traffic": self.traffic, "reuse_traffic": self.reuse_traffic}
        return figures | {"feature_bytes": self.feature_bytes}


@dataclass(frozen=True)
class CallCost:
    """What one denoiser call costs.

    Attributes:
        macs: MACs in full.
        reuse_macs: MACs on a reuse step.
        targets: one row per target, in module order.
        layout: which of them are stored as one, and which not at all.
        scores: the kind of each tensor that the denoiser returns.
        device: where they are.
        traffic: bytes that its operations read and write in full.
    """

    macs: int
    reuse_macs: int
    targets: tuple[TargetCost, ...]
    layout: Layout
    scores: tuple[Kind, ...]
    device: torch.device
    traffic: int

    @property
    def reuse_ratio(self) -> float:
        """Cost of one reuse step / cost of one full step. The lower, the more reuse is worth."""
        return self.reuse_macs / self.macs if self.macs else 1.0

    @property
    def reuse_traffic(self) -> int:
        """Bytes read and written on a reuse step that skips all targets, the bank's among them."""
        skipped = sum(target.traffic - target.reuse_traffic for target in self.targets)
        return self.traffic - skipped + FORECAST_PASSES * self.feature_bytes

    @property
    def work(self) -> float:
        """What a full call takes: its MACs, and those that fit in the time of its traffic."""
        return self.macs + _balance(self.device) * self.traffic

    @property
    def reuse_work(self) -> float:
        """The same of a reuse step that skips all targets."""
        return self.reuse_macs + _balance(self.device) * self.reuse_traffic

    @property
    def keyframe_macs(self) -> int:
        """MACs of a step in full that stores features.

        A shortcut that something is folded into runs once more, to tell what it makes of the rest.
        """
        rows = zip(self.targets, self.layout.places, strict=True)
        return self.macs + sum(target.reuse_macs for target, place in rows if place.folds)

    def partial_macs(self, skipped: Sequence[bool]) -> int:
        """MACs of a reuse step that skips only some targets.

        Args:
            skipped: one per target.
        """
        rows = zip(self.targets, skipped, strict=True)
        return self.reuse_macs + sum(row.macs - row.reuse_macs for row, skip in rows if not skip)

    @property
    def feature_bytes(self) -> int:
        """Bytes of what is stored of one keyframe, all targets together."""
        return sum(self.targets[number].feature_bytes for number in self.layout.stored)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        return {
            "macs": self.macs,
            "reuse_macs": self.reuse_macs,
            "reuse_ratio": self.reuse_ratio,
            "traffic": self.traffic,
            "reuse_traffic": self.reuse_traffic,
            "feature_bytes": self.feature_bytes,
            "targets": [target.to_dict() for target in self.targets],
            "layout": asdict(self.layout),
        }


def call_cost(denoiser: nn.Module, policy: Policy, example: Example) -> CallCost:
    """The cost of a call with the shapes of `example`, in full and on a reuse step.

    Args:
        denoiser: patched or not. It is not changed, and run only if its code fails on tensors
            without contents. It may be on the meta device while `example` is not.
        policy: its targets are counted.

    Raises:
        Exception: whatever the denoiser raises on such inputs.
    """
    key = (
        *(str(part) for part in (policy.targets, policy.groups, policy.computed_groups)),
        *(example.shapes, example.types, _structure(denoiser)),
    )
    known = _KNOWN.setdefault(denoiser, {})
    if key not in known:
        known[key] = call_costs(denoiser, [policy], example)[0]
    return known[key]


# A pass takes seconds, and whoever compares policies applies many to one denoiser.
_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, CallCost]] = WeakKeyDictionary()


def _structure(denoiser: nn.Module) -> int:
    """A number that changes with the modules of a denoiser and with their settings."""
    plain = int | float | str | bool | None
    rows = (
        (name, id(module), key, value if isinstance(value, plain) else id(value))
        for name, module in denoiser.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and key not in HOOKS
    )
    types = (parameter.dtype for parameter in denoiser.parameters())
    return hash((*rows, *types))


def call_costs(denoiser: nn.Module, policies: Sequence[Policy], example: Example) -> list[CallCost]:
    """`call_cost` for several policies at once, from the same pass."""
    try:
        with example.mode, torch.no_grad(), _silent_fakes():
            hollow = skeleton(denoiser, example.device)
            return _counted(hollow, policies, example.fake(), KnownContents())
    except Exception:  # whatever a model's own code raises on tensors without contents
        if any(tensor.is_meta for tensor in (*denoiser.parameters(), *denoiser.buffers())):
            raise
    with torch.no_grad(), unpatched(denoiser), frozen([denoiser]):
        return _counted(denoiser, policies, example.real(), nullcontext())


def run_macs(cost: CallCost, policy: Policy, num_steps: int) -> int:
    """MACs of a run with one call a step under a policy, as it is planned.

    Args:
        cost: of a call, with the policy's targets.

    Raises:
        ValueError: a policy for another step count, or groups that other targets have.
    """
    groups = grouped(cost.targets, policy.groups) if cost.targets else []
    macs = 0
    plan = policy.plan(num_steps)
    keyframe = cost.keyframe_macs if plan.count(Action.REUSE) else cost.macs
    for step in plan:
        if step.action is Action.KEYFRAME:
            macs += keyframe
        elif step.action is Action.REUSE:
            macs += cost.partial_macs([group not in step.computed for group in groups])
        elif step.action is Action.HALF:
            macs += cost.macs // 2
    return macs


@contextmanager
def _silent_fakes() -> Iterator[None]:
    """While it lasts, fake tensors raise what they cannot do and log no traceback of it."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _balance(device: torch.device) -> float:
    return BALANCE.get(device.type, OTHER_BALANCE)


def _counted(
    denoiser: nn.Module,
    policies: Sequence[Policy],
    call: tuple[tuple, dict[str, Any]],
    mode: AbstractContextManager,
) -> list[CallCost]:
    """The cost of a call under each policy, from one full pass in a mode."""
    found = [find_targets(denoiser, row.targets) if row.targets else [] for row in policies]
    parts = {
        part: None
        for target in itertools.chain(*found)
        for part in (target.module, target.source, *target.idle, *target.kept)
    }
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    flow = Dataflow()
    args, kwargs = copied(call)  # the denoiser may empty lists
    with ExitStack() as stack:
        # Compiled blocks within the denoiser would refuse a counter.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(flow.watching(parts))
        stack.enter_context(counter)
        stack.enter_context(flow)
        stack.enter_context(mode)
        result = denoiser(*args, **kwargs)
    macs = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    traffic = _traffic(flow)
    costs = []
    for targets, policy in zip(found, policies, strict=True):
        groups = grouped(targets, policy.groups) if targets else []
        layout = layout_of(targets, groups, flow, result, policy.computed_groups)
        features = _features(targets, flow)
        scores = tensors_in(result)
        costs.append(_call_cost(denoiser, targets, macs, traffic, features, layout, scores))
    return costs


def _traffic(flow: Dataflow) -> Counter[nn.Module | None]:
    """Bytes that operations read and wrote in a pass: by module of interest, and all as None."""
    found: Counter[nn.Module | None] = Counter()
    for event in flow.events:
        if isinstance(event, Operation):
            for module in {None, *event.within}:
                found[module] += event.traffic
    return found


def _features(targets: Sequence[Target], flow: Dataflow) -> dict[str, list[Kind]]:
    """The kinds of the features that each target gave in a pass, by name."""
    found: dict[str, list[Kind]] = {target.name: [] for target in targets}
    sources: dict[nn.Module, list[Target]] = {}
    for target in targets:
        sources.setdefault(target.source, []).append(target)
    for event in flow.events:
        if isinstance(event, Return):
            for target in sources.get(event.module, ()):
                found[target.name] += map(Kind.of, target.extract(event.inputs, event.result))
    return found


def _call_cost(
    denoiser: nn.Module,
    targets: list[Target],
    counts: dict[str, int],
    traffic: Counter[nn.Module | None],
    features: Mapping[str, Sequence[Kind]],
    layout: Layout,
    scores: Sequence[Tensor],
) -> CallCost:
    root = type(denoiser).__name__
    names = {module: f"{root}.{name}" for name, module in denoiser.named_modules()}

    def macs(module: nn.Module) -> int:
        return counts.get(names[module], 0)

    rows = tuple(
        TargetCost(
            target.name,
            macs(target.module) + sum(map(macs, target.idle)),
            sum(map(macs, target.kept)) if place.read else 0,
            tuple(features[target.name]),
            traffic[target.module] + sum(traffic[part] for part in target.idle),
            sum(traffic[part] for part in target.kept) if place.read else 0,
        )
        for target, place in zip(targets, layout.places, strict=True)
    )
    full = counts.get("Global", 0)
    reuse = full - sum(row.macs - row.reuse_macs for row in rows)
    device = scores[0].device if scores else torch.device("cpu")
    kinds = tuple(map(Kind.of, scores))
    return CallCost(full, reuse, rows, layout, kinds, device, traffic[None])


class _Captured(Exception):
    """Carries the arguments of a denoiser's first call out of a pipeline."""


def first_call_cost(pipe: DiffusionPipeline, policy: Policy) -> dict[str, CallCost]:
    """The cost of a denoiser call of `pipe` at its default size, by component name.

    The pipeline runs up to the first call of each denoiser and no further. One that is not called
    within two steps is left out.

    Args:
        policy: its targets are counted.
    """

    def capture(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        raise _Captured(args, kwargs)

    costs: dict[str, CallCost] = {}
    for name, denoiser in find_denoisers(pipe).items():
        handle = denoiser.register_forward_pre_hook(capture, with_kwargs=True)
        try:
            sample(pipe, ["0"], steps=2)
        except _Captured as call:
            costs[name] = call_cost(denoiser, policy, Example(*call.args))
        finally:
            handle.remove()
    return costs
