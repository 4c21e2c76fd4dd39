"""Do saved MACs turn into time on a GPU? Published sizes with random weights, in turns with plain.

    python bench/gpu.py [CASE ...] [--rounds 5] [--output results.json]

Random weights say nothing about quality; only time and memory are measured. A case is a model, how
many pictures, and how it runs: `SDXL:4:eager`, `SD 1.5:1:compiled`, `SDXL:1:reduce-overhead`. Every
policy runs in turns with the untouched denoiser, 25 steps, bfloat16, guidance in one call; peers
where they are installed (`pip install "frdiff[peers]"`). A row has the median and the spread of the
speed-up, the one implied by MACs, their quotient, MiB of the bank and of the peak beyond the
weights, and the seconds that the first run took beyond another.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from frdiff.catalogue import example_call
from frdiff.catalogue.full_size import find_full_sizes
from frdiff.policy import JumpPolicy, Policy, UniformPolicy
from frdiff.run.applying import apply

STEPS = 25
MIB = 2**20
CASES = (
    "SDXL:4:eager",
    "SDXL:1:eager",
    "DiT-XL/2 512:8:eager",
    "DiT-XL/2 512:1:eager",
    "SD 1.5:1:eager",
    "SD 1.5:1:compiled",
    "SD 1.5:1:reduce-overhead",
    "DiT-XL/2 512:1:compiled",
    "DiT-XL/2 512:1:reduce-overhead",
    "SDXL:1:compiled",
    "PixArt-alpha XL/2:4:eager",
    "SD3 medium:4:eager",
    "Flux dev:1:eager",
)
MODES = {"eager": None, "compiled": "default", "reduce-overhead": "reduce-overhead"}


@dataclass(frozen=True)
class Row:
    """One method in one case.

    Attributes:
        speedup: median over rounds of plain seconds over its own.
        spread: the least and the greatest.
        macs: the speed-up implied by MACs; None where they are not counted.
        bank: MiB stored at most.
        peak: MiB allocated at most, beyond the weights.
        first: seconds that the first run took beyond a later one: compiling, counting, warming up.
    """

    case: str
    method: str
    seconds: float
    speedup: float
    spread: tuple[float, float]
    macs: float | None
    bank: float
    peak: float
    first: float

    @property
    def quotient(self) -> float | None:
        """Measured over MACs."""
        return None if self.macs is None else self.speedup / self.macs


class Sampler:
    """A loop of a denoiser of published size and a scheduler that tells the time.

    Args:
        name: of the model.
        pictures: per run.
        mode: of `torch.compile`; None runs it as it is.
    """

    def __init__(self, name: str, pictures: int, mode: str | None, device: torch.device) -> None:
        (model,) = find_full_sizes([name])
        torch.manual_seed(0)
        with device:
            built = getattr(diffusers, model.class_name)(**model.config)
        self.denoiser: nn.Module = nn.Module.to(built, torch.bfloat16).eval()
        call = dict(model.call)
        call.pop("at", None)
        halves = model.call_size.batch
        self.call = example_call(self.denoiser, device, **call | {"batch": halves * pictures})
        self.name = next(iter(self.call))
        self.time = next(key for key in self.call if "timestep" in key and "cond" not in key)
        self.scheduler = DDIMScheduler()
        self.device = device
        self.compiled = mode is not None
        self.net = self.denoiser if mode is None else torch.compile(self.denoiser, mode=mode)

    @torch.no_grad()
    def run(self, steps: int = STEPS) -> float:
        """Draw; returns seconds."""
        self._wait()
        began = time.perf_counter()
        self.scheduler.set_timesteps(steps, device=self.device)
        sample: Tensor = self.call[self.name]
        given = self.call[self.time]
        for t in self.scheduler.timesteps:
            now = t.to(given).expand(given.shape) / (1 if not given.is_floating_point() else 1000)
            score = self.net(**self.call | {self.name: sample, self.time: now}, return_dict=False)
            score = score[0][:, : sample.shape[1]]  # some predict a variance beside it
            sample = self.scheduler.step(score, t, sample, return_dict=False)[0].to(sample)
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


@dataclass(frozen=True)
class Way:
    """One method: what it is entered by, and how many steps it takes."""

    name: str
    enter: Callable[[Sampler], Any]
    steps: int = STEPS


def ways(case: Sampler, compiled: bool) -> list[Way]:
    """What is measured beside the plain run."""

    def ours(name: str, policy: Policy) -> Way:
        return Way(name, lambda it: apply(it.net, policy, scheduler=it.scheduler))

    def reuse(interval: int, targets: str) -> Way:
        policy = UniformPolicy(interval, mixing=False, forecast=1, targets=targets)
        return ours(f"{targets}, interval {interval}, linear", policy)

    if compiled:  # each policy compiles graphs of its own, for a minute and more
        return [reuse(3, "all"), ours("jumps, interval 2", JumpPolicy(2))]
    rows = [
        reuse(2, "all"),
        reuse(3, "all"),
        reuse(2, "residual"),
        ours("jumps, interval 2", JumpPolicy(2)),
        ours("every step computed", UniformPolicy(1)),
        Way("12 steps", plain, 12),
        Way("8 steps", plain, 8),
    ]
    if type(case.denoiser).__name__ == "UNet2DConditionModel":
        return [*rows, *(Way(f"DeepCache, interval {n}", deepcache(n)) for n in (2, 3))]
    return [*rows, Way("cache-dit, documented", cache_dit)]


@contextmanager
def plain(case: Sampler) -> Iterator[None]:
    """Nothing."""
    yield None


def deepcache(interval: int) -> Callable[[Sampler], Any]:
    """DeepCache at its documented branch."""

    @contextmanager
    def enter(case: Sampler) -> Iterator[None]:
        from DeepCache import DeepCacheSDHelper

        # It reads the time from the second positional argument.
        own = case.net

        def positional(**call: Any) -> Any:
            first, t = call.pop(case.name), call.pop(case.time)
            return own(first, t.flatten()[0], **call)

        helper = DeepCacheSDHelper(pipe=SimpleNamespace(unet=own, scheduler=case.scheduler))
        helper.set_params(cache_interval=interval, cache_branch_id=0)
        helper.enable()
        case.net = positional
        try:
            yield None
        finally:
            case.net = own
            helper.disable()

    return enter


@contextmanager
def cache_dit(case: Sampler) -> Iterator[None]:
    """cache-dit's DBCache as its documentation begins."""
    import cache_dit as package

    config = package.DBCacheConfig(
        num_inference_steps=STEPS,
        Fn_compute_blocks=8,
        Bn_compute_blocks=0,
        max_warmup_steps=8,
        residual_diff_threshold=0.08,
    )
    package.enable_cache(case.denoiser, cache_config=config)
    try:
        yield None
    finally:
        package.disable_cache(case.denoiser)


def measured(name: str, rounds: int, device: torch.device, only: str = "") -> Iterator[Row]:
    """A row per method of a case.

    Args:
        only: measure methods whose name begins so.
    """
    model, pictures, mode = name.rsplit(":", 2)
    torch.compiler.reset()
    case = Sampler(model, int(pictures), MODES[mode], device)
    on_gpu = device.type != "cpu"
    first = case.run()
    steady = case.run()
    weights = torch.accelerator.memory_allocated() if on_gpu else 0
    yield Row(
        name, "plain", steady, 1.0, (1.0, 1.0), None, 0.0, _peak(case, weights), first - steady
    )
    for way in ways(case, compiled=mode != "eager"):
        if not way.name.startswith(only):
            continue
        try:
            row = _row(name, case, way, rounds, weights)
        except Exception as error:  # a peer's, or one that this machine alone shows
            print(f"{name}, {way.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        yield row


def _row(name: str, case: Sampler, way: Way, rounds: int, weights: int) -> Row:
    macs, bank = None, 0.0
    own: list[float] = []
    full: list[float] = []
    with way.enter(case) as run:
        first = case.run(way.steps)
        peak = _peak(case, weights, way.steps)
        if run is not None:
            stats = run.stats
            macs, bank = 1 / stats.macs_ratio, stats.bank_bytes_peak / MIB
        if case.compiled:  # graphs are made anew every time that it is entered
            own = [case.run(way.steps) for _ in range(rounds)]
    while len(full) < rounds:
        if len(own) < rounds:
            with way.enter(case):
                case.run(2)  # the first run looks at the modules
                own.append(case.run(way.steps))
        full.append(case.run())
    ratios = [one / two for one, two in zip(full, own, strict=True)]
    seconds = statistics.median(own)
    spread = min(ratios), max(ratios)
    speedup = statistics.median(ratios)
    return Row(name, way.name, seconds, speedup, spread, macs, bank, peak, first - seconds)


def _peak(case: Sampler, weights: int, steps: int = STEPS) -> float:
    """MiB allocated at most in a run, beyond the weights."""
    if case.device.type == "cpu":
        return 0.0
    torch.accelerator.reset_peak_memory_stats()
    case.run(steps)
    return (torch.accelerator.max_memory_allocated() - weights) / MIB


def markdown(rows: list[Row]) -> str:
    """The rows as a table."""
    lines = [
        "| case | method | seconds | speed-up | spread | by MACs | quotient | bank MiB | "
        "peak MiB | first run s |",
        "|" + " --- |" * 10,
    ]
    for row in rows:
        macs = "" if row.macs is None else f"{row.macs:.2f}x"
        quotient = "" if row.quotient is None else f"{row.quotient:.2f}"
        lines.append(
            f"| {row.case} | {row.method} | {row.seconds:.3f} | {row.speedup:.2f}x | "
            f"{row.spread[0]:.2f} to {row.spread[1]:.2f} | {macs} | {quotient} | {row.bank:,.0f} | "
            f"{row.peak:,.0f} | {row.first:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="methods whose name begins so")
    parser.add_argument("--output", type=Path, help="JSON, written anew after every case")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if not torch.accelerator.is_available():
        raise SystemExit("no GPU: torch.accelerator finds none; these sizes are not for a CPU")
    device = torch.accelerator.current_accelerator()
    about = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "dtype": "bfloat16",
        "rounds": options.rounds,
    }
    rows: list[Row] = []
    for name in options.cases:
        rows += measured(name, options.rounds, device, options.only)
        if options.output is not None:
            found = about | {"rows": [asdict(row) for row in rows]}
            options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(markdown([row for row in rows if row.case == name]), flush=True)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print("Random weights: these figures say nothing about quality.")


if __name__ == "__main__":
    main()
