"""What the app has open: pipelines, the line of those who draw, and who asked to stop."""

import inspect
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diffusers import DiffusionPipeline

from frdiff.app.asked import MAX_SCALE, empty, number, one_of, whole
from frdiff.app.gauge import Scene
from frdiff.app.turns import Lease, Turns
from frdiff.choices import SCHEDULERS
from frdiff.cli.shared import DEFAULT_STEPS, check_device, silence
from frdiff.models import (
    GUIDANCE,
    INPUTS,
    load_policy,
    match,
    open_pipeline,
    shipped_captions,
    shipped_models,
)
from frdiff.models.named import read_profiles
from frdiff.policy import Policy
from frdiff.sampling import needs_prompts
from frdiff.schedulers.named import (
    adds_noise,
    flow_schedulers,
    is_flow,
    scheduler_for,
)
from frdiff.setting import Setting

__all__ = ["OWN", "Opened", "Studio"]

OWN = "the model's own"
MAX_SEED = 2**31
WARM = 2  # steps of a run after which others take no longer than they need
PACED = 8  # of one that, beside a run as short as that, tells what a step takes


@dataclass(frozen=True)
class Opened:
    """A model that is open.

    Attributes:
        name: of a shipped model, or a folder.
        pipe: only who has the turn uses it, and leaves it as it was.
    """

    name: str
    pipe: DiffusionPipeline

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Further arguments that the pipeline is called with."""
        return INPUTS.get(self.name, {})

    @property
    def guidance(self) -> float | None:
        """The scale that suits the model; None for the pipeline's default, or if it takes none."""
        return GUIDANCE.get(self.name)

    @cached_property
    def takes_guidance(self) -> bool:
        """Whether the pipeline can be told a scale."""
        return "guidance_scale" in inspect.signature(self.pipe).parameters

    @cached_property
    def takes_prompts(self) -> bool:
        """Whether it draws from prompts or class labels."""
        return needs_prompts(self.pipe, self.inputs)

    @cached_property
    def prompts(self) -> list[str]:
        """What the model has learnt to draw; none if that is not known."""
        known = self.name in shipped_models() and self.takes_prompts
        return shipped_captions(self.name) if known else []

    @cached_property
    def steps(self) -> int:
        """Of the full run."""
        try:
            return read_profiles(self.name).full.calls
        except ValueError:
            return DEFAULT_STEPS

    @cached_property
    def policies(self) -> list[str]:
        """Names of the policies that ship and fit, for `frdiff.load_policy`."""
        return [one.name for one in match(self.pipe) if one.fits]

    @cached_property
    def solvers(self) -> list[str]:
        """Names for `frdiff.set_scheduler`, after `OWN`."""
        if is_flow(self.pipe.scheduler):
            return [OWN, *flow_schedulers()]
        found = []
        for name in SCHEDULERS:
            try:
                made = scheduler_for(self.pipe, name)
            except (ValueError, TypeError, ImportError):  # some need scipy
                continue
            if not adds_noise(made):
                found.append(name)
        return [OWN, *found]

    def scene(self, prompts: Sequence[str], seed: object, guidance: float | None) -> Scene:
        """What is asked for, ready to be drawn.

        Raises:
            ValueError: guidance where none is taken, or a seed out of range.
        """
        if guidance is not None and not self.takes_guidance:
            raise ValueError(f"{self.name} takes no guidance; leave the field empty")
        scale = self.guidance if guidance is None else guidance
        return Scene(self.pipe, prompts, whole("seed", seed, 0, MAX_SEED), scale, dict(self.inputs))

    def full(self, steps: int, solver: object) -> Setting:
        """The full run: so many steps of a solver.

        Raises:
            ValueError: no such solver for this model.
        """
        name = one_of("solver", solver, self.solvers)
        return Setting(steps, None, None if name == OWN else name)

    def policy(self, name: object) -> Policy:
        """The policy that ships under a name, and fits.

        Raises:
            ValueError: no such.
        """
        return load_policy(one_of("policy", name, self.policies))

    def call(self, steps: int) -> float:
        """Seconds that a call for one picture takes; for whoever has the turn."""
        scene = self.scene(self.prompts[:1] or ["a picture"], 0, None)
        began = time.perf_counter()
        scene.draw(steps)
        return time.perf_counter() - began

    def pace(self) -> tuple[float, float]:
        """Seconds of such a call besides its steps, and of a step; for whoever has the turn."""
        short, longer = self.call(WARM), self.call(PACED)
        step = max((longer - short) / (PACED - WARM), 0.0)
        return max(short - WARM * step, 0.0), step

    def scale(self, value: object) -> float | None:
        """The guidance scale in a field; None if it is empty.

        Raises:
            ValueError: it is no number in range.
        """
        return None if empty(value) else number("guidance", value, 0, MAX_SCALE)


class Studio:
    """The models that are open, and everybody who draws.

    Args:
        model: a shipped model or a folder.
        device: where to run.

    Raises:
        ValueError: no such device.

    Attributes:
        turns: the line of those who draw.
        tuning: held by the one search that runs.
    """

    def __init__(self, model: str, device: str) -> None:
        check_device(device)
        silence()
        self.model = model
        self.device = device
        self.turns = Turns()
        self.tuning = threading.Lock()
        self._opened: dict[str, Opened] = {}
        self._opening = threading.Lock()
        self._leases: dict[tuple[str, str], Lease] = {}

    @property
    def models(self) -> list[str]:
        """That can be chosen."""
        return list(dict.fromkeys([self.model, *shipped_models()]))

    def is_open(self, name: object) -> bool:
        """Whether a model is open, and warm."""
        return name in self._opened

    def opened(self, name: object) -> Opened:
        """A model, opened when it is first asked for and warm.

        Raises:
            ValueError: none of those that can be chosen.
        """
        known = one_of("model", name, self.models)
        with self._opening:
            if known not in self._opened:
                found = Opened(known, self.another(known))
                with self.turns.taken(lambda: False):
                    found.call(WARM)
                self._opened[known] = found
        return self._opened[known]

    def another(self, name: str) -> DiffusionPipeline:
        """The pipeline of a model again, with weights of its own."""
        return open_pipeline(name).to(self.device)

    @contextmanager
    def begun(self, session: str, work: str, patience: float = float("inf")) -> Iterator[Lease]:
        """What stops some work of a session; what it did of the kind before is stopped.

        Args:
            patience: see `Lease`.
        """
        lease = Lease(patience)
        self.stop(session, work)
        self._leases[session, work] = lease
        try:
            yield lease
        finally:
            lease.asked.set()
            if self._leases.get((session, work)) is lease:
                del self._leases[session, work]

    def stop(self, session: str, work: str) -> bool:
        """Stop some work of a session; whether there was any."""
        lease = self._leases.pop((session, work), None)
        if lease is not None:
            lease.asked.set()
        return lease is not None

    def leave(self, session: str) -> None:
        """Stop all work of a session: its tab was closed."""
        for whose, work in list(self._leases):
            if whose == session:
                self.stop(whose, work)
