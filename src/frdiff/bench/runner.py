"""The bench: which measurements to make, in which order, and which are made already."""

import hashlib
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image

from frdiff.bench.measure import Setup, draw
from frdiff.bench.methods import FULL, Method
from frdiff.bench.metrics import capped_psnr, lpips
from frdiff.bench.peers import peer_absence
from frdiff.bench.results import (
    Absence,
    Fidelity,
    about_here,
    absence_path,
    read_result,
    result_path,
    write_result,
)
from frdiff.compare import ssim
from frdiff.sampling import sample

__all__ = ["Bench", "choose_prompts", "measure_all"]

OnEvent = Callable[[str, int, int | None], None]

CONVERGED_STEPS = 100
AGREEMENT_DB = 45.0
STRIP_PICTURES = 6


@dataclass(frozen=True)
class Bench:
    """One model under measurement.

    Attributes:
        model: its name in files and on the page.
        pipe: the pipeline.
        setup: what all methods have in common.
        folder: of the results.
        on_event: called with a line of what begins, the methods done, and all of them.
    """

    model: str
    pipe: DiffusionPipeline
    setup: Setup
    folder: Path
    on_event: OnEvent = lambda line, done, total: None

    def definition(self, method: Method, **more: Any) -> dict[str, Any]:
        """Everything that defines a measurement, for the name of its file."""
        return {"method": method.config, "setup": self.described_setup(), **more}

    def described_setup(self) -> dict[str, Any]:
        """The setup as files hold it."""
        prompts = json.dumps(self.setup.prompts)
        return {
            "pictures": len(self.setup.prompts),
            "prompts_hash": hashlib.sha256(prompts.encode()).hexdigest()[:12],
            "seed": self.setup.seed,
            "batch": self.setup.batch,
            "guidance": self.setup.guidance,
            "full_steps": FULL.steps,
            "converged_steps": CONVERGED_STEPS,
        }

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
            "setup": self.described_setup(),
            "about": about_here(self.pipe.device, self.pipe.dtype),
        }


def choose_prompts(captions: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """`count` prompts drawn by seed, each as often as any other, give or take one."""
    pool = list(captions)
    random.Random(seed).shuffle(pool)
    return tuple(pool[i % len(pool)] for i in range(count))


def measure_all(bench: Bench, methods: Sequence[Method], budget: float | None = None) -> int:
    """Measure every method that has no result yet; returns how many are left unmeasured.

    Args:
        methods: in the order in which they are measured.
        budget: seconds after which no further method begins; None for no limit.

    Raises:
        ValueError: the converged solution has not converged.
    """
    began = time.monotonic()
    bench.on_event("the converged solution", 0, None)
    truth, full = _references(bench)
    full_macs: int | None = None
    left = 0
    # The full run first: its MACs are what all others are a share of.
    ordered = [FULL, *(method for method in methods if method != FULL)]
    for number, method in enumerate(ordered):
        path = result_path(bench.folder, bench.model, "fidelity", bench.definition(method))
        done = _finished(path)
        if done is not None:
            full_macs = full_macs or done.macs_full
        elif budget is not None and time.monotonic() - began > budget:
            left += 1
        elif reason := method.peer and peer_absence(method.peer, bench.pipe):
            absence = Absence(model=bench.model, family=method.family, reason=reason)
            write_result(absence_path(bench.folder, bench.model, method.family), absence)
        else:
            bench.on_event(f"{method.family}, {method.setting}", number, len(ordered))
            full_macs = _measure(bench, method, path, truth, full, full_macs)
    return left


def _finished(path: Path) -> Fidelity | None:
    """The result in `path`; None if there is none that can be read: it is measured again."""
    if not path.exists():
        return None
    try:
        result = read_result(path)
    except ValueError:
        return None
    return result if isinstance(result, Fidelity) else None


def _measure(
    bench: Bench,
    method: Method,
    path: Path,
    truth: np.ndarray,
    full: np.ndarray,
    full_macs: int | None,
) -> int:
    """Measure and write one method; returns the MACs of the full run."""
    drawing = draw(bench.pipe, method, bench.setup)
    macs_full = drawing.cost.macs if full_macs is None else full_macs
    stats = drawing.stats
    result = Fidelity(
        **bench.record(method),
        psnr_converged=capped_psnr(truth, drawing.images),
        ssim_converged=ssim(truth, drawing.images),
        psnr_full=capped_psnr(full, drawing.images),
        ssim_full=ssim(full, drawing.images),
        lpips_converged=lpips(truth, drawing.images),
        seconds=list(drawing.seconds),
        seconds_full=list(drawing.seconds_full),
        macs=drawing.cost.macs,
        macs_full=macs_full,
        nfe=stats.keyframes + stats.reuse_steps if stats else method.steps,
        reuse_steps=stats.reuse_steps if stats else 0,
        jumps=stats.jumps if stats else 0,
        peak_bytes=drawing.cost.peak_bytes,
        bank_bytes=stats.bank_bytes_peak if stats else 0,
    )
    write_result(path, result)
    tiles = (np.concatenate(drawing.images[:STRIP_PICTURES], axis=1) * 255).round()
    Image.fromarray(np.squeeze(tiles.astype(np.uint8))).save(path.with_suffix(".png"))
    return macs_full


def _references(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    """The converged solution and the full run, drawn once and kept in the results' folder."""
    description = json.dumps(bench.described_setup(), sort_keys=True)
    digest = hashlib.sha256((bench.model + description).encode()).hexdigest()[:12]
    path = bench.folder / "references" / f"{bench.model}-{digest}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return kept["truth"], kept["full"]
    truth = _draw_untouched(bench, "dpm++", CONVERGED_STEPS)
    check = _draw_untouched(bench, "unipc", CONVERGED_STEPS)
    agreement = statistics.median(capped_psnr(truth, check))
    if agreement < AGREEMENT_DB:
        raise ValueError(
            f"{bench.model} has not converged at {CONVERGED_STEPS} steps: DPM-Solver++ and UniPC "
            f"agree to {agreement:.1f} dB only, {AGREEMENT_DB:.0f} are needed to measure against it"
        )
    full = _draw_untouched(bench, FULL.scheduler, FULL.steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, truth=truth, full=full, agreement=agreement)
    temporary.replace(path)
    return truth, full


def _draw_untouched(bench: Bench, scheduler: str, steps: int) -> np.ndarray:
    with Method("reference", f"{steps} steps", steps, scheduler).attached(bench.pipe) as (
        source,
        _,
    ):
        return np.concatenate(
            [
                sample(source, prompts, steps=steps, seed=seed, guidance=bench.setup.guidance)
                for seed, prompts in bench.setup.batches()
            ]
        )
