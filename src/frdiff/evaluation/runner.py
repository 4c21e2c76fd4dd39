"""The bench: which measurements to make, in which order, and which are made already."""

import hashlib
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline

from frdiff.compare import picture, ssim
from frdiff.engines import Engine, in_order, local_engine
from frdiff.evaluation.measure import Drawing, Setup
from frdiff.evaluation.methods import Method, solver_label
from frdiff.evaluation.metrics import capped_psnr, lpips
from frdiff.evaluation.peers import peer_absence
from frdiff.evaluation.results.files import add_result, keys_in, measurement_key, strip_path
from frdiff.evaluation.results.records import MAX_TEXT, Absence, Conditions, Fidelity, about_here
from frdiff.evaluation.worker import Job, Pictures, Turns, Worker
from frdiff.network.denoisers import find_denoisers, weights_hash

__all__ = ["Bench", "choose_prompts", "measure_all", "write_absence"]

OnEvent = Callable[[str, int, int | None], None]

AGREEMENT_DB = 60.0
STRIP_PICTURES = 6
GROUP = 4


@dataclass(frozen=True)
class Bench:
    """One model under measurement.

    Attributes:
        model: its name in files and on the page.
        pipe: the pipeline.
        setup: what all methods have in common.
        folder: of the results.
    """

    model: str
    pipe: DiffusionPipeline
    setup: Setup
    folder: Path

    def definition(self, method: Method, **more: Any) -> dict[str, Any]:
        """Everything that defines a measurement, for its key."""
        return {"method": method.config, "setup": self.conditions.definition(), **more}

    def key(self, method: Method) -> str:
        """The key of a method's fidelity, see `frdiff.evaluation.results.files`."""
        return measurement_key(self.model, "fidelity", self.definition(method))

    @cached_property
    def conditions(self) -> Conditions:
        """The setup, and what it is measured on, as files hold it."""
        prompts = json.dumps(self.setup.prompts)
        inputs = json.dumps(dict(self.setup.inputs), sort_keys=True)
        return Conditions(
            pictures=len(self.setup.prompts),
            prompts_hash=hashlib.sha256(prompts.encode()).hexdigest()[:12],
            seed=self.setup.seed,
            batch=self.setup.batch,
            guidance=self.setup.guidance,
            inputs=inputs if self.setup.inputs else None,
            full_steps=self.setup.full.steps,
            converged_steps=self.setup.reference.steps,
            converged_scheduler=self.setup.reference.scheduler,
            weights_hash=weights_hash(find_denoisers(self.pipe).values()),
            device=self.pipe.device.type,
            dtype=str(self.pipe.dtype).removeprefix("torch."),
        )

    def record(self, method: Method) -> dict[str, Any]:
        """The fields that every result has."""
        return {
            "model": self.model,
            "family": method.family,
            "setting": method.setting,
            "steps": method.steps,
            "scheduler": method.scheduler,
            "method": method.config,
            "policy_hash": method.policy_hash,
            "setup": self.conditions,
            "about": about_here(self.pipe.device),
        }


def choose_prompts(captions: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """`count` prompts drawn by seed, each as often as any other, give or take one."""
    pool = list(captions)
    random.Random(seed).shuffle(pool)
    return tuple(pool[i % len(pool)] for i in range(count))


@dataclass(frozen=True)
class _References:
    """What all methods of a bench are measured against.

    Attributes:
        truth: pictures of the converged solution.
        full: pictures of the full run.
        macs_full: of one batch of the full run, denoisers only.
        agreement: median PSNR in dB of the converged solution to that with half as many steps.
    """

    truth: np.ndarray
    full: np.ndarray
    macs_full: int
    agreement: float


def measure_all(
    bench: Bench,
    methods: Sequence[Method],
    budget: float | None = None,
    engine: Engine[Job, Any] | None = None,
    on_event: OnEvent = lambda line, done, total: None,
) -> int:
    """Measure every method that has no result yet; returns how many are left unmeasured.

    Args:
        methods: in the order in which their families are measured; the full run is added.
        budget: seconds after which no further method begins, the converged solution left aside;
            None for no limit.
        engine: of a `Worker` with the bench's pipeline and setup; None for this process.
        on_event: called with a line of what begins, the methods done, and all of them.

    Raises:
        ValueError: the converged solution has not converged.
    """
    began = time.monotonic()
    engine = engine or local_engine(Worker(bench.pipe, bench.setup))
    on_event("the converged solution", 0, None)
    references = _references(bench, engine)
    everything = list(dict.fromkeys([bench.setup.full, *methods]))
    finished = keys_in(bench.folder, bench.model)
    pending = [method for method in everything if bench.key(method) not in finished]
    done = len(everything) - len(pending)
    left = 0
    given: list[Turns] = []

    def wanted() -> Iterator[Turns]:
        nonlocal done, left
        for group in _groups(pending):
            family, peer = group[0].family, group[0].peer
            said = f"{family}, {'; '.join(row.setting for row in group)}"
            on_event(said, done, len(everything))
            if budget is not None and time.monotonic() - began > budget:
                left += len(group)
            elif reason := peer and peer_absence(peer, bench.pipe):
                write_absence(bench, group[0], reason)
                done += len(group)
            else:
                given.append(Turns(tuple(group)))
                yield given[-1]

    for number, drawn in engine(wanted()):
        for method, drawing in zip(given[number].methods, drawn, strict=True):
            _write(bench, method, drawing, references)
        done += len(drawn)
        on_event(f"{given[number].methods[0].family} is measured", done, len(everything))
    return left


def _groups(methods: Sequence[Method]) -> list[list[Method]]:
    """The methods by family, at most `GROUP` together: a killed bench loses one group's work."""
    families: dict[str, list[Method]] = {}
    for method in methods:
        families.setdefault(method.family, []).append(method)
    return [
        family[start : start + GROUP]
        for family in families.values()
        for start in range(0, len(family), GROUP)
    ]


def write_absence(bench: Bench, method: Method, reason: str, whole_family: bool = True) -> None:
    """Write why a peer, or only this setting of it, has no result."""
    absence = Absence(
        model=bench.model,
        family=method.family,
        setting=None if whole_family else method.setting,
        reason=reason[:MAX_TEXT],
    )
    add_result(bench.folder, absence)


def _write(bench: Bench, method: Method, drawing: Drawing | str, references: _References) -> None:
    """Write the result of a method, or why there is none."""
    if not isinstance(drawing, str):
        try:
            result = _result(bench, method, drawing, references)
        except Exception as error:  # such as pictures of another size
            if method.peer is None:
                raise
            drawing = f"failed: {type(error).__name__}: {error}"
    if isinstance(drawing, str):
        write_absence(bench, method, drawing, whole_family=False)
        return
    path = strip_path(bench.folder, bench.key(method))
    # The strip first: a run that is killed in between counts as unfinished.
    strip = picture(np.concatenate(drawing.images[:STRIP_PICTURES], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    strip.save(path.with_suffix(".tmp"), "PNG")
    path.with_suffix(".tmp").replace(path)
    add_result(bench.folder, result)


def _result(bench: Bench, method: Method, drawing: Drawing, references: _References) -> Fidelity:
    return Fidelity(
        **bench.record(method),
        agreement=references.agreement,
        psnr_converged=capped_psnr(references.truth, drawing.images),
        ssim_converged=ssim(references.truth, drawing.images),
        psnr_full=capped_psnr(references.full, drawing.images),
        ssim_full=ssim(references.full, drawing.images),
        lpips_converged=lpips(references.truth, drawing.images),
        seconds=list(drawing.seconds),
        seconds_full=list(drawing.seconds_full),
        macs=drawing.cost.macs,
        macs_full=references.macs_full,
        peak_bytes=drawing.cost.peak_bytes,
        **_calls(method, drawing),
    )


def _calls(method: Method, drawing: Drawing) -> dict[str, Any]:
    stats = drawing.stats
    if stats is not None:
        return {
            "nfe": stats.keyframes + stats.reuse_steps,
            "reuse_steps": stats.reuse_steps,
            "jumps": stats.jumps,
            "bank_bytes": stats.bank_bytes_peak,
        }
    names = ("nfe", "reuse_steps", "jumps", "bank_bytes")
    if method.peer is not None:  # what it computed only its MACs tell
        return dict.fromkeys(names)
    return dict(zip(names, (drawing.times, 0, 0, 0), strict=True))


def _references(bench: Bench, engine: Engine[Job, Any]) -> _References:
    """The converged solution and the full run, drawn once and kept in the results' folder."""
    description = json.dumps(bench.conditions.definition())
    digest = hashlib.sha256((bench.model + description).encode()).hexdigest()[:12]
    path = bench.folder / "references" / f"{bench.model}-{digest}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            macs_full, agreement = int(kept["macs_full"]), float(kept["agreement"])
            return _References(kept["truth"], kept["full"], macs_full, agreement)
    reference = bench.setup.reference
    rough = replace(reference, steps=reference.steps // 2)
    batches = bench.setup.batches()
    parts = [
        Pictures(method, seed, tuple(prompts))
        for method in (reference, rough)
        for seed, prompts in batches
    ]
    (full,), *drawn = in_order(engine([Turns((bench.setup.full,), timed=False), *parts]))
    pictures = [part["pictures"] for part in drawn]
    truth = np.concatenate(pictures[: len(batches)])
    check = np.concatenate(pictures[len(batches) :])
    agreement = statistics.median(capped_psnr(truth, check))
    if agreement < AGREEMENT_DB:
        raise ValueError(
            f"{bench.model} has not converged at {reference.steps} steps of "
            f"{solver_label(reference.scheduler)}: "
            f"half as many come to {agreement:.1f} dB only, {AGREEMENT_DB:.0f} are needed to "
            "measure against it"
        )
    found = _References(truth, full.images, full.cost.macs, agreement)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, allow_pickle=False, **vars(found))
    temporary.replace(path)
    return found
