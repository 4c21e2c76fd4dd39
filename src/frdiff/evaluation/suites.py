"""What a model is measured with: one suite for diffusion, one for flow matching."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from diffusers import DiffusionPipeline

from frdiff.evaluation.methods import (
    FULL,
    REFERENCE,
    Method,
    adaptive,
    fewer_steps,
    jumps,
    opponents,
    our_jumps,
    ours,
    paper,
    peer,
    solver_label,
)
from frdiff.evaluation.results.records import Conditions
from frdiff.schedulers.named import is_flow

__all__ = ["DIFFUSION", "FLOW", "Suite", "suite_behind", "suite_of"]

MILD = ("interval 2", "interval 3", "threshold 0.08", "threshold 0.12")
JUMP_STEPS = (31, 23, 19, 15, 13)
KARRAS_STEPS = (FULL.steps, 20, 16, 14, 12, 10, 9, 8, 7, 6)
LEARNING = 100  # iterations
SLOW = ("gits", "learnt")
# Noise levels of flow matching: the pipeline's own, even, and two with more of little noise.
LEVELS = ("flow-euler", "flow-euler-shift-1", "flow-euler-beta", "flow-euler-karras")


@dataclass(frozen=True)
class Suite:
    """The runs that all methods are measured against, and the methods.

    Attributes:
        full: what speed-ups are ratios to.
        reference: the converged solution.
        paper_on: the full run that the paper's policies are applied to.
        uneven: as many steps as the full run's, where those are even in time and these are not.
        quick: methods for a picture in minutes, some or all of `everything`.
        everything: every setting, the ablations of the paper's policy too.
        opponents: settings of the methods of others that are written here; those that take
            minutes to calibrate only where they are asked for.
        peers: settings of the methods of others that take their packages.
    """

    full: Method
    reference: Method
    paper_on: Method
    uneven: Method | None
    quick: Callable[[], list[Method]]
    everything: Callable[[], list[Method]]
    opponents: Callable[[], list[Method]]
    peers: Callable[[], list[Method]]

    def methods(self, *, everything: bool, peers: bool, learnt: bool = False) -> list[Method]:
        """The methods asked for.

        Args:
            learnt: those that take minutes to calibrate, too; with everything they are there.
        """
        rows = self.everything() if everything else self.quick()
        slow = everything or learnt
        rows += [row for row in self.opponents() if slow or row.peer not in SLOW]
        return rows + (self.peers() if peers else [])

    def named(self) -> list[tuple[str, Method]]:
        """Operating points beyond the best at each speed-up, by name.

        What the paper claims to be without loss, with its full run, and the uneven steps.
        """
        on = self.paper_on
        claimed = [on, *(paper(on.scheduler, on.steps, interval) for interval in (2, 3))]
        points = [("claim", method) for method in claimed]
        return points + ([("Karras", self.uneven)] if self.uneven else [])


def suite_of(pipe: DiffusionPipeline) -> Suite:
    """The suite that fits what a pipeline samples by."""
    return FLOW if is_flow(pipe.scheduler) else DIFFUSION


def suite_behind(setup: Conditions) -> Suite:
    """The suite that results were measured with."""
    flows = setup.converged_scheduler == FLOW.reference.scheduler
    return FLOW if flows else DIFFUSION


def _step_count(scheduler: str, steps: int) -> Method:
    (method,) = fewer_steps(scheduler, (steps,))
    return method


def _peers(full: Method) -> list[Method]:
    """Every peer, four or more settings each; with more steps too where that may be worth it."""
    rows = []
    once, half_more, twice = full.steps, 3 * full.steps // 2, 2 * full.steps - 1
    every = ((2, once), (3, once), (4, once), (5, once), (3, half_more), (4, twice))
    for interval, steps in every:
        said = f"interval {interval}"
        rows += [
            peer("deepcache", "DeepCache", said, full, steps, interval=interval),
            peer("taylorseer", "TaylorSeer (diffusers)", said, full, steps, interval=interval),
        ]
        if steps == once:
            even = "SmoothCache, even schedule"
            rows.append(peer("smoothcache", even, said, full, once, interval=interval))
    for ratio in (0.25, 0.5, 0.6, 0.75):
        rows.append(peer("tomesd", "tomesd", f"ratio {ratio}", full, once, ratio=ratio))
    for gate, interval in ((15, 1), (10, 1), (10, 5), (5, 5), (5, 2)):
        setting = f"gate {gate}, interval {interval}"
        options = {"gate_step": gate, "sp_interval": interval}
        rows.append(peer("tgate", "T-GATE", setting, full, once, **options))
    thresholds = [(value, once) for value in (0.08, 0.12, 0.2, 0.35)]
    for value, steps in [*thresholds, (0.12, half_more), (0.2, half_more)]:
        said = f"threshold {value}"
        for family, taylor in (("cache-dit", False), ("cache-dit, TaylorSeer", True)):
            rows.append(peer("dbcache", family, said, full, steps, threshold=value, taylor=taylor))
        for name, family in (("firstblock", "FirstBlockCache"), ("magcache", "MagCache")):
            rows.append(peer(name, f"{family} (diffusers)", said, full, steps, threshold=value))
    return rows


def _opponents(full: Method, even: str, uneven: str, counts: tuple[int, ...]) -> list[Method]:
    """What both suites have, with these numbers of network calls or about as many.

    Args:
        even: a scheduler on the levels of the full run.
        uneven: one on Karras' levels.
    """
    rows = opponents("learnt", "learnt solver", full.scheduler, counts, iterations=LEARNING)
    for grid in (even, uneven):
        # It steps by Euler's method over the levels of whatever scheduler.
        levels = "Euler" if grid == even else "Euler Karras"
        rows += opponents("pfdiff", f"PFDiff, {levels}", grid, counts)
    for scheduler in (full.scheduler, uneven):
        on = replace(full, scheduler=scheduler)
        said = solver_label(scheduler)
        for flex in (0.0, 0.25, 0.75, 3.0):
            setting = f"window growing by {flex:g}"
            rows.append(peer("spectrum", f"Spectrum, {said}", setting, on, on.steps, flex=flex))
        for cosine in (0.9, 0.97, 0.99, 0.999):
            family, setting = f"adaptive guidance, {said}", f"cosine {cosine:g}"
            options = {"threshold": cosine}
            rows.append(peer("adaptive-guidance", family, setting, on, on.steps, **options))
    return rows


def _diffusion_opponents(counts: tuple[int, ...]) -> list[Method]:
    return [
        *(
            row
            for name in ("ays", "dmn", "gits")
            for solver in ("unipc", "dpm++")
            for row in opponents(name, f"{name.upper()}, {solver_label(solver)}", solver, counts)
        ),
        *_opponents(FULL, "euler", "dpm++karras", counts),
    ]


def _flow_opponents(counts: tuple[int, ...]) -> list[Method]:
    return [
        *(
            row
            for solver in ("flow-euler", "flow-unipc")
            for row in opponents("gits", f"GITS, {solver_label(solver)}", solver, counts)
        ),
        *_opponents(FLOW_FULL, "flow-euler", "flow-euler-karras", counts),
    ]


def _diffusion_peers() -> list[Method]:
    rows = _peers(FULL)
    # Steps even in time limit what any of them can reach.
    return rows + [
        replace(row, family=f"{row.family}, Karras", scheduler="dpm++karras")
        for row in rows
        if row.setting in MILD
    ]


def _diffusion_quick() -> list[Method]:
    return [
        *fewer_steps("dpm++", (FULL.steps, 16, 13, 8, 6)),
        *fewer_steps("dpm++karras", (16, 12, 10, 8, 7)),
        *fewer_steps("unipckarras", (16, 12, 10, 8, 7)),
        *our_jumps(2, JUMP_STEPS, 1.0, checked=True),
        *ours(3, (31, 25, 20, 17)),
        *(paper("ddim", 50, interval) for interval in (2, 3, 5)),
        *(row for solver in ("unipc", "ddim", "euler") for row in fewer_steps(solver, (12, 8))),
    ]


def _diffusion_all() -> list[Method]:
    rows = [
        *fewer_steps("dpm++", (50, 35, FULL.steps, 20, 16, 13, 11, 10, 9, 8, 7, 6)),
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
        *our_jumps(2, JUMP_STEPS, 1.0, checked=True),
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
            jumps("ddim", 50, interval),
        ]
    for interval in (2, 3):
        rows += [
            paper("ddim", 50, interval, mixing=False, targets="residual"),
            paper("ddim", FULL.steps, interval),
        ]
    rows += [paper("dpm++", FULL.steps, interval) for interval in (2, 3, 4, 5)]
    return rows


DIFFUSION = Suite(
    full=FULL,
    reference=REFERENCE,
    paper_on=_step_count("ddim", 50),
    uneven=_step_count("unipckarras", FULL.steps),
    quick=_diffusion_quick,
    everything=_diffusion_all,
    opponents=partial(_diffusion_opponents, (16, 12, 8)),
    peers=_diffusion_peers,
)

FLOW_FULL = _step_count("flow-euler", 28)
FLOW_STEPS = (FLOW_FULL.steps, 20, 16, 14, 12, 10, 9, 8, 7, 6)


def _flow_quick() -> list[Method]:
    return [
        *fewer_steps("flow-euler", (FLOW_FULL.steps, 20, 14, 9)),
        *fewer_steps("flow-euler-shift-1", (16, 14, 12, 9, 7)),
        *fewer_steps("flow-euler-beta", (16, 14, 12, 9, 7)),
        *fewer_steps("flow-euler-karras", (16, 14, 12, 10, 9, 8, 7)),
        *our_jumps(2, JUMP_STEPS, 1.0, scheduler="flow-euler-karras", checked=True),
        *ours(3, (31, 25, 19), scheduler="flow-euler"),
        *(paper("flow-euler", FLOW_FULL.steps, interval) for interval in (2, 3, 5)),
    ]


def _flow_all() -> list[Method]:
    rows = [
        *fewer_steps("flow-euler", (56, 40, *FLOW_STEPS)),
        *fewer_steps("flow-euler-shift-1", FLOW_STEPS),
        *fewer_steps("flow-euler-beta", FLOW_STEPS),
        *fewer_steps("flow-euler-karras", FLOW_STEPS),
        *(
            row
            for ending in ("shift-1.5", "shift-2", "exponential")
            for row in fewer_steps(f"flow-euler-{ending}", (20, 14, 9))
        ),
        # Two evaluations a step, but for the last.
        *(
            row
            for ending in ("", "-shift-1", "-beta")
            for row in fewer_steps(f"flow-heun{ending}", (14, 10, 7, 5))
        ),
        *(
            row
            for solver in ("flow-unipc", "flow-dpm++")
            for ending in ("", "-shift-1", "-beta")
            for row in fewer_steps(solver + ending, (FLOW_FULL.steps, 20, 14, 10))
        ),
        *ours(2, (31, 25, 21, 17, 14), scheduler="flow-euler"),
        *ours(3, (37, 31, 25, 22, 19), scheduler="flow-euler"),
        *ours(4, (41, 33, 29, 25), scheduler="flow-euler"),
        *(
            row
            for level in LEVELS[1:]
            for interval, counts in ((2, (25, 17, 14)), (3, (31, 25, 19)))
            for row in ours(interval, counts, scheduler=level)
        ),
        *our_jumps(2, JUMP_STEPS, 1.0, scheduler="flow-euler-karras", checked=True),
        *(
            row
            for level in LEVELS
            for crowding in (1.0, 1.3)
            for row in our_jumps(2, JUMP_STEPS, crowding, scheduler=level)
        ),
        *(row for level in LEVELS for row in our_jumps(3, (34, 22), 1.15, scheduler=level)),
        *adaptive((42, FLOW_FULL.steps), "flow-euler"),
        *(row for order in (0, 2) for row in ours(2, (25, 17), order, scheduler="flow-euler")),
        *(row for order in (0, 2) for row in ours(3, (31, 19), order, scheduler="flow-euler")),
        *ours(3, (31, 25, 19), targets="residual", scheduler="flow-euler"),
    ]
    for interval in (2, 3, 4, 5):
        rows += [
            paper("flow-euler", FLOW_FULL.steps, interval),
            paper("flow-euler", FLOW_FULL.steps, interval, bias=0.3),
            paper("flow-euler", FLOW_FULL.steps, interval, mixing=False),
            jumps("flow-euler", FLOW_FULL.steps, interval),
        ]
    for interval in (2, 3):
        rows += [
            paper("flow-euler", FLOW_FULL.steps, interval, mixing=False, targets="residual"),
            paper("flow-euler-beta", FLOW_FULL.steps, interval),
        ]
    return rows


FLOW = Suite(
    full=FLOW_FULL,
    reference=Method("reference", "100 steps", 100, "flow-heun-beta"),
    paper_on=FLOW_FULL,
    uneven=None,
    quick=_flow_quick,
    everything=_flow_all,
    opponents=partial(_flow_opponents, (18, 14, 9)),
    peers=partial(_peers, FLOW_FULL),
)
