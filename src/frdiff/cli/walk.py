"""`frdiff walk`: a clip from one picture to the next, with and without reuse side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from frdiff.cli.shared import (
    MIB,
    AsJson,
    Device,
    Guidance,
    Seed,
    check_without,
    guidance_of,
    open_model,
    out,
    parsed_targets,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from frdiff.frames import ClipOutcome

__all__ = ["walk"]

STEPS = 25
NO_TARGETS = "none"
SHAPE = ("interval", "order", "targets", "placing")

Make = Callable[["Tensor"], Any] | None


def walk(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="A pipeline with an image VAE, or a generator: emoji-gan, or a folder."
        ),
    ],
    ends: Annotated[list[str], typer.Argument(help="Two or more: prompts, or names of anchors.")],
    frames: Annotated[int, typer.Option(min=10, help="Of the clip.")] = 60,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="A policy file for frames.")
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="Find the policy for this speed, in MACs, on this clip.")
    ] = None,
    interval: Annotated[float, typer.Option(help="Frames a keyframe; larger is faster.")] = 2.0,
    order: Annotated[int, typer.Option(help="Of the interpolation, 0 to 3.")] = 3,
    targets: Annotated[
        str, typer.Option(help='"paper", "residual", "all", wildcards, or "none": whole frames.')
    ] = "all",
    placing: Annotated[
        str, typer.Option(help='Keyframes lie "even", or as the latent "moves".')
    ] = "even",
    guidance: Guidance = None,
    seed: Seed = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Timing rounds.")] = 3,
    output: Annotated[Path, typer.Option(help="Folder for clip and policy.")] = Path("outputs"),
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Draw a walk from picture to picture: in full, with reuse, and with interpolated pixels."""
    from frdiff.frames import FramePolicy, animate, compare, tune
    from frdiff.frames import walk as led
    from frdiff.policy import load_policy

    if policy is not None:
        check_without(context, (*SHAPE, "speedup"), "--policy", "the file says all of it")
        chosen = load_policy(policy)
    else:
        wanted = () if targets == NO_TARGETS else parsed_targets(targets)
        chosen = FramePolicy(interval, order, wanted, placing)
    if speedup is not None:
        check_without(context, SHAPE, "--speedup", "it is found by measuring")
    with progress("drawing the ends") as show:
        network, make, found = _ends(model, ends, guidance, seed, device)
        inputs = led(found, frames)
        if speedup is not None:
            chosen = tune(
                network, inputs, speedup, make, on_clip=lambda *done: show("trying", *done)
            )
        plain = FramePolicy(getattr(chosen, "interval", interval), 1, ())
        drawn = 0

        def on_clip() -> None:
            nonlocal drawn
            drawn += 1
            show("drawing in turns", drawn, 3 * (rounds + 1))

        policies = {"frdiff": chosen, "pixels interpolated": plain}
        outcomes = compare(network, inputs, policies, make, rounds=rounds, on_clip=on_clip)
    output.mkdir(parents=True, exist_ok=True)
    animate(outcomes, output / "walk.gif")
    chosen.save(output / "walk.json")
    if as_json:
        rows = [outcome.row() for outcome in outcomes]
        print_json({"clip": str(output / "walk.gif"), "policy": chosen.to_dict(), "rows": rows})
        return
    out.print(_table(outcomes, f"{frames} frames, {chosen}"))
    out.print(str(output / "walk.gif"), soft_wrap=True, markup=False)


def _ends(
    model: str, ends: list[str], guidance: float | None, seed: int, device: str
) -> "tuple[nn.Module, Make, Tensor]":
    """The network, what makes a frame of a latent, and the latents to walk between."""
    import torch

    from frdiff.frames.generator import is_generator, load_generator
    from frdiff.models import INPUTS
    from frdiff.sampling import sample

    if len(ends) < 2:
        raise ValueError(f"a walk needs two ends or more, got {ends}")
    if is_generator(model):
        generator, names = load_generator(model)
        unknown = [end for end in ends if end not in names]
        if unknown:
            raise ValueError(f"{model} knows no {', '.join(unknown)}; it knows {', '.join(names)}")
        latents = generator.anchors[[names.index(end) for end in ends]].to(device)
        return generator.to(device), None, latents
    pipe = open_model(model, device)
    vae: Any = getattr(pipe, "vae", None)
    if not hasattr(vae, "decoder") or not hasattr(vae, "encode"):
        raise ValueError(f"{type(pipe).__name__} has no VAE, between whose latents a walk leads")
    pictures = sample(
        pipe,
        ends,
        steps=STEPS,
        seed=seed,
        guidance=guidance_of(model, guidance),
        inputs=INPUTS.get(model, {}),
    )
    x = torch.from_numpy(pictures).movedim(-1, 1).to(vae.device, vae.dtype) * 2 - 1
    with torch.no_grad():
        encoded = vae.encode(x)
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return vae.decoder, lambda latent: vae.decode(latent).sample, latents


def _table(outcomes: "list[ClipOutcome]", title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("", "seconds", "speed-up", "MACs", "PSNR", "worst\nframe", "flicker", "MiB"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for outcome in outcomes:
        stats = outcome.stats
        ratio = 1.0 if stats is None else stats.macs_ratio
        table.add_row(
            outcome.name,
            f"{outcome.seconds:#.3g}".rstrip("."),
            f"{outcome.speedup:.2f}x",
            "-" if ratio is None else f"{ratio:.2f}",
            f"{outcome.psnr:.1f}",
            f"{outcome.worst:.1f}",
            f"{outcome.flicker:.2f}",
            "-" if stats is None else f"{stats.bank_bytes_peak / MIB:.1f}",
        )
    return table
