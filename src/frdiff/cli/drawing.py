"""Pictures with a policy, alone or in turns with its opponents."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from rich import box
from rich.table import Table

from frdiff.cli.shared import MIB, out, pictures_in_words, print_json, progress
from frdiff.compare import Contender, Outcome, compare, draw_grid
from frdiff.policy import Policy, UniformPolicy
from frdiff.sampling import sample
from frdiff.setting import Setting

__all__ = ["Order", "draw_alone", "draw_compared"]


@dataclass(frozen=True)
class Order:
    """What to draw.

    Attributes:
        steps, policy, solver: see `frdiff.setting.Setting`.
        seed: picture i is drawn from seed + i.
        output: folder of the pictures.
        inputs: further arguments of the pipeline.
        max_bytes: see `frdiff.apply`.
    """

    pipe: DiffusionPipeline
    prompts: Sequence[str]
    steps: int
    policy: Policy
    solver: str | None
    guidance: float | None
    seed: int
    output: Path
    inputs: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: int | None = None

    @cached_property
    def setting(self) -> Setting:
        """Apart from what is drawn."""
        return Setting(self.steps, self.policy, self.solver)

    def drawn(self, prompts: Sequence[str]) -> np.ndarray:
        """Pictures of the pipeline as it is now, one per prompt."""
        return sample(
            self.pipe,
            prompts,
            steps=self.steps,
            seed=self.seed,
            guidance=self.guidance,
            inputs=self.inputs,
        )


def draw_alone(order: Order, as_json: bool) -> None:
    """Draw the pictures and print what the policy did."""
    with progress("drawing"), order.setting.attached(order.pipe, order.max_bytes) as run:
        if run is None:
            raise ValueError("a picture drawn with a policy has a run")
        images = order.drawn(order.prompts)
        path = order.output / "pictures.png"
        draw_grid([("", images)], order.prompts).save(path)
        stats = run.stats
    if as_json:
        figures = dataclasses.asdict(stats)
        figures |= {"macs_ratio": stats.macs_ratio, "speedup": stats.speedup}
        print_json({"picture": str(path), **figures})
    else:
        out.print(f"{stats}\n{path}", soft_wrap=True, markup=False)


def draw_compared(
    order: Order, interval: int | None, repeats: int, converged: int | None, as_json: bool
) -> None:
    """Draw with the policy, in full, and with fewer steps, and print a table of all.

    Args:
        interval: of the paper's policy beside them; None for none.
        repeats, converged: see `frdiff.compare.compare`.
    """
    full_steps = _full_steps(order.policy, order.steps)
    contenders = [
        Contender("full", full_steps),
        Contender("frdiff", order.steps, order.policy, order.solver, order.max_bytes),
        Contender("fewer steps", _passes(order), None, order.solver),
    ]
    if interval is not None:
        contenders.append(Contender("paper", full_steps, UniformPolicy(interval)))
    with progress("drawing in turns" if converged is None else "drawing until converged") as show:
        drawn = 0

        def on_call() -> None:
            nonlocal drawn
            drawn += 1
            show("drawing in turns", drawn, repeats * len(contenders))

        outcomes = compare(
            order.pipe,
            contenders,
            order.prompts,
            seed=order.seed,
            guidance=order.guidance,
            repeats=repeats,
            converged=converged,
            inputs=order.inputs,
            on_call=on_call,
        )
    path = order.output / "side_by_side.png"
    rows = [(_caption(outcome), outcome.images) for outcome in outcomes]
    draw_grid(rows, order.prompts).save(path)
    figures = [outcome.row() for outcome in outcomes]
    (order.output / "table.json").write_text(
        json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    if as_json:
        print_json({"picture": str(path), "rows": figures})
        return
    solver = type(order.pipe.scheduler).__name__
    title = f"{pictures_in_words(len(order.prompts))}, {solver}; PSNR in dB"
    if order.solver is not None:
        title += f"; frdiff and fewer steps: {order.solver}"
    out.print(_comparison_table(outcomes, title))
    out.print(str(path), soft_wrap=True, markup=False)


def _full_steps(policy: Policy, num_steps: int) -> int:
    """Steps of the full run: those that a policy was tuned from, or as many as its own."""
    figures = {} if policy.origin is None else policy.origin.figures
    return round(figures.get("full_steps", num_steps))


def _passes(order: Order) -> int:
    """How many full steps have about as many MACs as the policy's run."""
    attached = order.setting.attached(order.pipe, order.max_bytes)
    with progress("counting the cost"), attached as run:
        order.drawn(order.prompts[:1])
        ratio = None if run is None else run.stats.macs_ratio
    if ratio is None:
        raise ValueError("--compare needs MACs, which cannot be counted for this denoiser")
    return max(1, round(ratio * order.steps))


def _caption(outcome: Outcome) -> str:
    lines = [outcome.name, f"{outcome.steps} steps, {_seconds(outcome.seconds)} s"]
    quality = outcome.psnr if outcome.psnr_converged is None else outcome.psnr_converged
    lines.append(f"{outcome.speedup:.2f}x, {quality:.1f} dB")
    return "\n".join(lines)


def _seconds(value: float) -> str:
    """Three digits, so that speed-ups can be read off them."""
    return f"{value:#.3g}".rstrip(".")


def _comparison_table(outcomes: list[Outcome], title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    names = ["", "steps", "seconds", "speed-up", "MACs", "PSNR\nto full", "SSIM", "bank\nMiB"]
    if outcomes[0].peak_bytes is not None:
        names.append("peak\nMiB")
    if outcomes[0].psnr_converged is not None:
        names.append("PSNR to\nconverged")
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for outcome in outcomes:
        bank = outcome.stats.bank_bytes_peak / MIB if outcome.stats else 0.0
        last = outcome.psnr_converged
        table.add_row(
            outcome.name,
            str(outcome.steps),
            f"{_seconds(outcome.seconds)}±{outcome.spread:.0%}",
            f"{outcome.speedup:.2f}x",
            "-" if outcome.macs_ratio is None else f"{outcome.macs_ratio:.2f}",
            f"{outcome.psnr:.1f}",
            f"{outcome.ssim:.3f}",
            f"{bank:.1f}",
            *([] if outcome.peak_bytes is None else [f"{outcome.peak_bytes / MIB:,.0f}"]),
            *([] if last is None else [f"{last:.1f}"]),
        )
    return table
