"""Two to four ways of drawing, side by side from the same noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from frdiff.app.asked import one_of
from frdiff.app.gauge import Gauge, Measured, Scene, gauge_of
from frdiff.app.studio import Opened
from frdiff.app.turns import Lease, Turns, watched
from frdiff.models.matching import why_not
from frdiff.policy import JumpPolicy, Policy, UniformPolicy
from frdiff.schedulers.named import converging, interchangeable, is_flow
from frdiff.setting import Setting

__all__ = [
    "FEWER",
    "MOST",
    "UNTUNED",
    "Way",
    "compared",
    "rivals",
    "setting_of",
    "untuned",
    "ways_of",
]

MOST = 3  # beside the full run
FEWER = "fewer steps, the best solver"
JUMPS, PAPER = "jumps, not tuned", "the paper's policy, interval 2"
UNTUNED = (JUMPS, PAPER)
# Solvers that fewer steps are drawn with, to show the best; None is the full run's.
RIVALS = (None, "dpm++", "dpm++karras", "unipc", "unipckarras")
FLOW_RIVALS = (None, "flow-unipc", "flow-dpm++", "flow-euler-karras", "flow-unipc-karras")


@dataclass(frozen=True)
class Way:
    """A way of drawing to be measured.

    Attributes:
        kind: see `Measured`.
        setting: None for as few steps as the first of the others takes network passes, of the
            solver that comes closest.
    """

    name: str
    kind: str
    setting: Setting | None


def setting_of(scene: Scene, policy: Policy, steps: int) -> Setting:
    """How a policy is drawn with: in its own steps, with the solver that it asks for.

    Args:
        steps: for a policy that has none of its own.

    Raises:
        ValueError: it does not fit the pipeline.
    """
    reason = why_not(scene.pipe, policy)
    if reason is not None:
        raise ValueError(reason)
    origin = policy.origin
    if origin is None:
        return Setting(int(getattr(policy, "num_steps", steps)), policy)
    return Setting(origin.num_inference_steps, policy, origin.solver)


def untuned(scene: Scene, name: str, full: Setting, keyframes: int | None = None) -> Setting:
    """How one of `UNTUNED` is drawn with.

    Args:
        keyframes: network calls of jumps; None for about half of the full run's.
    """
    if name == PAPER:
        return replace(full, policy=UniformPolicy(2))
    solver = converging(scene.pipe.scheduler) if not is_flow(scene.pipe.scheduler) else None
    solver = "flow-euler-karras" if is_flow(scene.pipe.scheduler) else solver
    calls = keyframes or max(full.steps // 2, 2)
    return Setting(2 * calls - 1, JumpPolicy(2, checked=True), solver or full.scheduler)


def ways_of(
    opened: Opened,
    scene: Scene,
    full: Setting,
    chosen: Sequence[str],
    policies: Mapping[str, Policy],
) -> list[Way]:
    """What is to be drawn beside the full run; fewer steps come last, to be as many as others.

    Args:
        chosen: names of policies that ship, of `UNTUNED`, or `FEWER`.
        policies: others, by name.

    Raises:
        ValueError: none or too many, an unknown name, or a policy that does not fit.
    """
    ways = [
        Way(name, "shipped", setting_of(scene, one, full.steps)) for name, one in policies.items()
    ]
    for name in chosen:
        one_of("a way of drawing", name, [*opened.policies, FEWER, *UNTUNED])
        if name in UNTUNED:
            ways.append(Way(name, "untuned", untuned(scene, name, full)))
        elif name != FEWER:
            ways.append(Way(name, "shipped", setting_of(scene, opened.policy(name), full.steps)))
    if FEWER in chosen:
        ways.append(Way(FEWER, "fewer steps", None))
    if not 1 <= len(ways) <= MOST:
        raise ValueError(
            f"choose one to {MOST} ways of drawing beside the full run, an uploaded file "
            f"included; got {len(ways)}"
        )
    return ways


def rivals(scene: Scene, full: Setting, steps: int) -> list[Setting]:
    """Fewer steps of several solvers that draw the same."""
    scheduler = scene.pipe.scheduler
    if not interchangeable(scheduler):
        return [replace(full, steps=steps)]
    names = FLOW_RIVALS if is_flow(scheduler) else RIVALS
    solvers = dict.fromkeys(name or full.scheduler for name in names)
    return [Setting(steps, None, solver) for solver in solvers]


def compared(
    scene: Scene, full: Setting, ways: Sequence[Way], against: str, turns: Turns, stop: Lease
) -> Iterator[tuple[Gauge, list[Measured]]]:
    """What is drawn so far, the full run first, after each that was drawn.

    Pictures come first, then what is counted of them, and what decibels are to. Fewer steps come
    after that, for the best of them is shown. The turn is taken for each, so that others who draw
    wait for one picture and not for all.

    Args:
        against: see `gauge_of`.

    Raises:
        Stopped: somebody asked to; what was yielded stands.
    """

    def drawn(way: Way, setting: Setting) -> Measured:
        with turns.taken(stop) as pace, watched(scene.pipe, pace):
            return gauge.drawn(way.name, way.kind, setting, pace)

    with turns.taken(stop) as pace, watched(scene.pipe, pace):
        gauge = gauge_of(scene, full, against, pace)
    found = [gauge.full]
    yield gauge, list(found)
    for way in ways:
        if way.setting is not None:
            found.append(drawn(way, way.setting))
            yield gauge, list(found)
    found = [gauge.told(one) for one in found]
    yield gauge, list(found)
    with turns.taken(stop) as pace, watched(scene.pipe, pace):
        gauge = gauge.with_truth(pace)
    found = [gauge.told(one) for one in found]
    yield gauge, list(found)
    for way in ways:
        if way.setting is None:
            passes = next((one.macs_share for one in found[1:] if one.macs_share), 0.5)
            steps = max(1, round(passes * gauge.full.calls))
            best = [gauge.told(drawn(way, setting)) for setting in rivals(scene, full, steps)]
            found.append(max(best, key=lambda one: one.decibels or 0.0))
            yield gauge, list(found)
