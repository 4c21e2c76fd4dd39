"""`frdiff fit`: a policy whose bank fits in so many bytes."""

from pathlib import Path
from typing import Annotated

import typer

from frdiff.cli.shared import (
    AsJson,
    Device,
    Guidance,
    MaxMemory,
    Model,
    Seed,
    Steps,
    check_drawing,
    guidance_of,
    num_steps_of,
    open_model,
    out,
    policy_of,
    print_json,
    progress,
)

__all__ = ["fit"]


def fit(
    model: Model,
    policy: Annotated[str, typer.Argument(help="A file, or a name such as emoji/high.")],
    prompts: Annotated[list[str], typer.Argument(help="What to draw and to measure, at a time.")],
    max_memory: MaxMemory = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: the policy's name, with .small.json."),
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Store a policy's features in fewer bytes, in the way that loses least on these prompts."""
    from frdiff.models import INPUTS
    from frdiff.sampling import set_scheduler
    from frdiff.search import fit_memory

    if max_memory is None:
        raise ValueError("give --max-memory, such as 200MiB")
    given = policy_of(policy, model)
    num_steps = num_steps_of(given, steps)
    pipe = open_model(model, device)
    check_drawing(pipe, prompts, guidance)
    if given.origin is not None and given.origin.solver is not None:
        set_scheduler(pipe, given.origin.solver)
    with progress("measuring what fits"):
        found = fit_memory(
            pipe,
            given,
            max_memory,
            prompts,
            num_steps=num_steps,
            guidance=guidance_of(model, guidance, given),
            inputs=INPUTS.get(model, {}),
            seed=seed,
        )
    beside = Path(policy).with_suffix(".small.json")
    named = Path(f"{policy.replace('/', '-')}.small.json")
    path = output or (beside if Path(policy).is_file() else named)
    found.save(path)
    if as_json:
        print_json({"policy": str(path), "changed": found != given, **found.to_dict()})
        return
    said = "fits as it is" if found == given else f"{found.storage}, targets {found.targets}"
    out.print(f"{path}: {said}", soft_wrap=True, markup=False, highlight=False)
