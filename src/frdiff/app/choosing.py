"""From a few questions to a policy: a search, and a plot that grows while it runs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.app.asked import MAX_STEPS, empty, number, one_of, prompts_of, scales, whole
from frdiff.app.comparing import JUMPS, rivals, setting_of, untuned
from frdiff.app.gauge import Gauge, Measured, Scene, gauge_of
from frdiff.app.looks import decibels, size
from frdiff.app.studio import OWN, Opened, Studio
from frdiff.app.turns import Lease, Pace, Stopped, watched
from frdiff.app.wording import GOALS, QUALITY, SECONDS, TRUTHS
from frdiff.models import INPUTS, load_policy, shipped_models
from frdiff.models.named import RULES
from frdiff.policy import Policy
from frdiff.schedulers.named import interchangeable, set_scheduler
from frdiff.search import tune
from frdiff.search.account import Progress
from frdiff.search.within import Candidate
from frdiff.setting import Setting

__all__ = ["Question", "Search", "asked", "code", "summary"]

MIB = 2**20
BYTES_SPEEDUP = 2.0
SHOWN = 4  # pictures that every point of the plot is measured on
SEED = 930_000  # of their noises, which no search draws
SHARES = (1.0, 0.5, 0.4, 1 / 3, 0.25)  # of the full run's steps: opponents
MOST_POINTS = 24  # of one search, measured for the plot
MAX_SAMPLES = 64
MAX_EVALUATIONS = 1000


@dataclass(frozen=True)
class Question:
    """What is asked of a search.

    Attributes:
        steps, solver: of the full run; None for the model's own solver.
        guidance: a scale, the two ends of a range, or None.
        prompts: to tune on; none for an unconditional model.
        words: for `frdiff.tune`.
    """

    model: str
    steps: int
    solver: str | None
    guidance: float | tuple[float, float] | None
    prompts: Sequence[str]
    words: Mapping[str, Any]

    @property
    def middle(self) -> float | None:
        """The scale that is shown: of a range between its ends."""
        if isinstance(self.guidance, tuple):
            return round((self.guidance[0] * self.guidance[1]) ** 0.5, 2)
        return self.guidance


def asked(opened: Opened, answers: Mapping[str, object]) -> Question:
    """The question in what somebody typed.

    Args:
        answers: "steps", "solver", "guidance", "goal", "amount", "samples", "evaluations",
            "prompts"; no evaluations for as many as `tune` finds right.

    Raises:
        ValueError: a field that is empty, no number or out of range.
    """
    steps = whole("steps", answers["steps"], 2, MAX_STEPS)
    solver = one_of("solver", answers["solver"], opened.solvers)
    guidance = scales(answers["guidance"], opened.guidance)
    if guidance is not None and not opened.takes_guidance:
        raise ValueError(f"{opened.name} takes no guidance; leave the field empty")
    goal = one_of("what matters", answers["goal"], list(GOALS))
    words: dict[str, Any] = {}
    if goal == SECONDS:
        words["speedup"] = number("how much", answers["amount"], 1, steps)
    elif goal == QUALITY:
        words["min_psnr"] = number("how much", answers["amount"], 1, 100)
    else:
        words["speedup"] = BYTES_SPEEDUP
        words["max_bytes"] = int(number("how much", answers["amount"], 0.01, 1e6) * MIB)
    words["samples"] = whole("pictures to search on", answers["samples"], 1, MAX_SAMPLES)
    if not empty(answers["evaluations"]):
        words["evaluations"] = whole(
            "policies to measure", answers["evaluations"], 1, MAX_EVALUATIONS
        )
    typed = answers["prompts"]
    if not typed and opened.prompts:
        prompts = opened.prompts
    else:
        prompts = prompts_of(typed, opened.takes_prompts)
    return Question(
        opened.name,
        steps,
        None if solver == OWN else solver,
        guidance,
        prompts if opened.takes_prompts else (),
        words,
    )


@dataclass
class Search:
    """A search in a thread of its own, with a pipeline of its own.

    Whoever compares pictures meanwhile goes first, between two calls of its denoiser, but while
    seconds are measured.

    Attributes:
        doing: what is done now.
        done, total: how far it is, in full runs of the samples.
        points: what is on the plot, the full run first.
        policy: what was found; None before and if nothing was.
        stopped: whether it was, before it found one.
        failure: why it failed; empty if it did not.
        over: set once it has ended, however.
        stop: what stops it.
    """

    studio: Studio
    question: Question
    stop: Lease
    doing: str = "opening the model"
    done: float = 0.0
    total: float = 0.0
    points: list[Measured] = field(default_factory=list)
    policy: Policy | None = None
    stopped: bool = False
    failure: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    against: str = TRUTHS[0]
    _front: list[Candidate] = field(default_factory=list)

    def begin(self) -> None:
        """Start the thread.

        Raises:
            ValueError: another search runs; the text says how far the machine is.
        """
        if not self.studio.tuning.acquire(blocking=False):
            raise ValueError("one search at a time, and another one is running; try again later")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            pipe = self.studio.another(self.question.model)
            with self.studio.turns.taken(self.stop) as pace, watched(pipe, pace):
                self._search(pipe, pace)
        except Stopped:
            self.stopped = True
        except (ValueError, TypeError, MemoryError, OSError) as error:
            self.failure = str(error)
        except Exception as error:  # what a model's own code may raise
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self.studio.tuning.release()
            self.over.set()

    def _search(self, pipe: DiffusionPipeline, pace: Pace) -> None:
        question = self.question
        if question.solver is not None:
            set_scheduler(pipe, question.solver)
        opened = self.studio.opened(question.model)
        prompts = [*question.prompts[:SHOWN]] or [""] * SHOWN
        scene = Scene(pipe, prompts, SEED, question.middle, dict(opened.inputs))
        full = Setting(question.steps)
        self.doing = "drawing the full run and the converged solution"
        with pace.held():
            gauge = gauge_of(scene, full, TRUTHS[0], pace).with_truth(pace)
        self.against = gauge.against
        self.points.append(gauge.full)
        for name, kind, setting in _opponents(scene, full, opened):
            self.doing = f"drawing what it has to beat: {name}"
            self.points.append(gauge.measure(name, kind, setting, pace))
        self.doing = "measuring the full run"

        def on_event(now: Progress) -> None:
            pace.check()
            self.doing, self.done, self.total = now.doing, now.runs, now.all_runs
            if now.candidate is not None and self._joins(now.candidate):
                self._show(gauge, now.candidate.found_by, "frdiff", now.candidate.setting, pace)

        policy = tune(
            pipe,
            question.prompts or None,
            num_steps=question.steps,
            guidance=question.guidance,
            inputs=opened.inputs,
            on_event=on_event,
            **question.words,
        )
        self.doing = "drawing with what was found"
        self._show(gauge, "the policy found", "chosen", setting_of(scene, policy, 0), pace)
        self.policy = policy

    def _joins(self, candidate: Candidate) -> bool:
        """Whether no policy measured so far is as cheap and as close."""
        if len(self._front) >= MOST_POINTS or candidate.found_by == "fewer steps":
            return False
        if any(
            one.cost <= candidate.cost and one.quality >= candidate.quality for one in self._front
        ):
            return False
        self._front.append(candidate)
        return True

    def _show(self, gauge: Gauge, name: str, kind: str, setting: Setting, pace: Pace) -> None:
        self.points.append(gauge.measure(name, kind, setting, pace))


def _opponents(scene: Scene, full: Setting, opened: Opened) -> list[tuple[str, str, Setting]]:
    """Names, kinds and settings of what a search has to beat, as far as that is cheap."""
    found: list[tuple[str, str, Setting]] = []
    for share in SHARES:
        steps = max(1, round(share * full.steps))
        for setting in rivals(scene, full, steps):
            if setting != full:
                name = f"{steps} steps, {setting.scheduler or 'own solver'}"
                found.append((name, "fewer steps", setting))
    if interchangeable(scene.pipe.scheduler):
        for share in SHARES[1:]:
            calls = max(2, round(share * full.steps))
            setting = untuned(scene, JUMPS, full, calls)
            found.append((f"{JUMPS}, {calls} calls", "untuned", setting))
    for name in opened.policies:
        if name.partition("/")[2] in RULES:
            found.append((name, "shipped", setting_of(scene, load_policy(name), full.steps)))
    return found


def code(question: Question, policy: Policy, file: str) -> str:
    """The lines that draw with a policy in its file."""
    shipped = question.model in shipped_models()
    opening = f"frdiff.load_model({question.model!r})"
    if not shipped:
        opening = f"DiffusionPipeline.from_pretrained({question.model!r})"
    steps = question.steps if policy.origin is None else policy.origin.num_inference_steps
    words = [f"num_inference_steps={steps}"]
    if question.middle is not None:
        words.append(f"guidance_scale={question.middle:g}")
    words += [f"{name}={value!r}" for name, value in INPUTS.get(question.model, {}).items()]
    if question.prompts:
        words.insert(0, repr(question.prompts[0]))
    solver = policy.origin.solver if policy.origin is not None else None
    lines = (
        ["import frdiff"]
        if shipped
        else ["import frdiff", "from diffusers import DiffusionPipeline"]
    )
    lines += ["", f"pipe = {opening}"]
    if question.solver is not None and solver is None:
        lines.append(f"frdiff.set_scheduler(pipe, {question.solver!r})")
    lines += [
        f"frdiff.enable(pipe, {file!r})",
        f"image = pipe({', '.join(words)}).images[0]",
    ]
    return "\n".join(lines) + "\n"


def summary(search: Search) -> list[tuple[str, str]]:
    """What was found, beside the full run, in words."""
    full, found = search.points[0], search.points[-1]
    count = len(found.images)
    rows = [
        (
            "seconds",
            f"{found.seconds:.3g} for {count} pictures, the full run {full.seconds:.3g}: "
            f"{full.seconds / found.seconds:.2f}x",
        ),
        (
            "on these",
            f"{decibels(found, search.against)}, the full run {decibels(full, search.against)}",
        ),
        ("bank", f"{size(found.bank_bytes)} for {count} pictures"),
    ]
    origin = search.policy.origin if search.policy is not None else None
    if origin is None:
        return rows
    figures = origin.figures
    fewer = figures.get("fewer_steps_held_out_db")
    beside = "" if fewer is None else f", fewer steps at that cost {fewer:.1f} dB"
    if "full_held_out_db" in figures:
        beside += f", the full run {figures['full_held_out_db']:.1f} dB"
    rows += [
        ("cost", f"{figures['cost']:.1f} full steps of {figures['full_steps']:.0f}"),
        ("not searched on", f"{figures['held_out_db']:.1f} dB{beside}"),
        ("found by", origin.found_by),
    ]
    return rows
