"""What is asked of a search: what a policy may cost or has to keep, and how to look for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from frdiff.choices import METHODS, PARETO, VARIABLES
from frdiff.policy import Targets
from frdiff.policy.checks import check_float, check_int, checked_list
from frdiff.search.measure import MOST_DECIBELS

__all__ = ["Goal", "Options", "Words", "sorted_out"]


@dataclass(frozen=True)
class Goal:
    """What a policy may cost, or what it has to keep: one of the four.

    Costs are MACs of the denoiser and `Options.overhead`; decoders and text encoders count none, so
    whole calls gain less.

    Attributes:
        budget: cost as a share of the full run's, in (0, 1].
        speedup: the full run's cost over the policy's, 1 or more.
        min_psnr: the least quality to keep, in dB, as cheaply as can be; not above what the
            converged solution is known to.
        pareto: a list of policies, one for each of the speed-ups in `PARETO`.

    Raises:
        ValueError: none of the four, several, or one out of range.
    """

    budget: float | None = None
    speedup: float | None = None
    min_psnr: float | None = None
    pareto: bool = False

    def __post_init__(self) -> None:
        if [self.budget, self.speedup, self.min_psnr, self.pareto or None].count(None) != 3:
            raise ValueError("give one of budget, speedup, min_psnr and pareto=True")
        if self.min_psnr is not None:
            check_float("min_psnr", self.min_psnr, 0, MOST_DECIBELS)

    def shares(self, num_steps: int) -> list[float]:
        """What runs may cost, as shares of the cost of a full run of so many steps.

        There are none where a quality is asked for.

        Raises:
            ValueError: a cost of less than a step.
        """
        if self.pareto:
            return [1 / factor for factor in PARETO]
        if self.speedup is not None:
            check_float("speedup", self.speedup, 1, num_steps)
            return [1 / self.speedup]
        if self.budget is not None:
            check_float("budget", self.budget, 1 / num_steps, 1)
            return [float(self.budget)]
        return []


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        method: `"search"`, or `"gates"` for the paper's Auto-FR: keyframes alone, as many as the
            budget pays for, learnt by gradient, with features copied. What it finds is returned,
            better or not.
        allow_scheduler: choose DPM-Solver++, on Karras' noise levels or not, or UniPC where they
            come closer; for flow matching Heun, UniPC or DPM-Solver++, on the pipeline's own noise
            levels, those of other shifts, Karras', beta or exponential ones. The policy says so,
            and `frdiff.set_scheduler(pipe, policy.origin.solver)` sets it.
        vary: what to choose, of `"keyframes"` (one by one, beyond evenly crowded ones),
            `"steps"` (more than the budget pays for in full), `"reuse"` (steps with stored
            features), `"targets"` (the last ones may be computed in such steps), `"jumps"` (steps
            without a network call) and `"weights"` (forecasts fitted to every target and step,
            jumps steered towards where the full run leads, steps in full weighed so that they end
            where the converged solution passes, see `frdiff.search.weights.follow`, and at last the
            numbers of the best learnt, see `frdiff.search.weights.learn`; extrapolated otherwise).
            Mixing weights are not among them: what a reuse step's score would be, no full run
            shows.
        targets: see `Policy`. Where `"all"` finds none, or MACs cannot be counted, steps between
            keyframes are jumps only, with a warning.
        overhead: time of a step with stored features that its MACs do not show, as a share of a
            full step. Larger: fewer steps. By default 0.05, or more where the memory that such a
            step reads and writes says so (see `CallCost.reuse_work`).
        latents: compare final latents and not what the pipeline makes of them: less memory, no
            decoder.
        quantile: of the samples' decibels, in [0, 1]; below 0.5 minds the worst more.
        samples: in each half, drawn 8 at a time; a function is called once for every 8.
        evaluations: policies to measure at most for a budget; by default as many as take the time
            of 4 full runs. Learning takes what is left of 30 with everything else, 4 at least; with
            other numbers of policies as much more or less.
        seed: of noises and proposals. The same seed gives the same policies, byte for byte, on
            one machine with one number of threads.
        max_bytes: that the bank may take in a call with one sample. What was found is stored in as
            many bytes, in the way that loses least on the samples, see `frdiff.fit_memory`.

    Raises:
        ValueError: an unknown method or something unknown to vary, or a number out of range.
    """

    method: str = METHODS[0]
    allow_scheduler: bool = False
    vary: Sequence[str] = VARIABLES
    targets: Targets = "all"
    overhead: float | None = None
    latents: bool = False
    quantile: float = 0.5
    samples: int = 16
    evaluations: int | None = None
    seed: int = 0
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {self.method!r}")
        unknown = sorted({*checked_list("vary", self.vary)} - {*VARIABLES})
        if unknown:
            raise ValueError(f"vary must be some of {', '.join(VARIABLES)}, got {unknown}")
        if self.overhead is not None:
            check_float("overhead", self.overhead, 0, 0.9)
        check_float("quantile", self.quantile, 0, 1)
        check_int("samples", self.samples, 1, 10_000)
        if self.evaluations is not None:
            check_int("evaluations", self.evaluations, 1, 1_000_000)
        if self.max_bytes is not None:
            check_int("max_bytes", self.max_bytes, 1, 2**63)


class Words(TypedDict, total=False):
    """The fields of `Goal`, `Options` and `frdiff.engines.Place`, as `frdiff.tune` takes them."""

    budget: float | None
    speedup: float | None
    min_psnr: float | None
    pareto: bool
    method: str
    allow_scheduler: bool
    vary: Sequence[str]
    targets: Targets
    overhead: float | None
    latents: bool
    quantile: float
    samples: int
    evaluations: int | None
    seed: int
    max_bytes: int | None
    engine: str
    workers: int
    resources_per_worker: Mapping[str, float]
    address: str | None


def sorted_out(words: Mapping[str, Any], *kinds: type) -> list[Any]:
    """One of each kind of dataclass, of the words that are its fields.

    Raises:
        TypeError: a word that none of them has.
        ValueError: what the kinds refuse.
    """
    taken = [{field.name for field in fields(kind)} for kind in kinds]
    unknown = sorted(words.keys() - set[str]().union(*taken))
    if unknown:
        known = ", ".join(sorted(set[str]().union(*taken)))
        raise TypeError(f"tune() takes no {', '.join(unknown)}; it takes {known}")
    rows = zip(kinds, taken, strict=True)
    return [kind(**{name: words[name] for name in words.keys() & names}) for kind, names in rows]
