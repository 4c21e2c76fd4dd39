"""Result files: one JSON per method and model, complete or absent, and never trusted when read.

A file is named after what it measured, so a bench that runs again finds what it has done. It is
written to a temporary name first: a bench killed at any moment leaves whole files only.
"""

import hashlib
import json
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "MAX_TEXT",
    "About",
    "Absence",
    "Conditions",
    "Distribution",
    "Fidelity",
    "Record",
    "Results",
    "about_here",
    "absence_path",
    "read_result",
    "read_results",
    "result_path",
    "write_result",
]

MAX_FILE_BYTES = 4_000_000
# Names that become file names.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
PACKAGES = (
    "frdiff", "torch", "diffusers", "transformers", "torchmetrics",
    "torch-fidelity", "torchvision", "lpips",
    "DeepCache", "cache-dit", "dit-smoothcache", "tgate", "tomesd",
)  # fmt: skip

MAX_TEXT = 500

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Some = Annotated[int, Field(gt=0, le=10**18)]
# Two halves of at least two: one to choose settings on, one to report.
Samples = Annotated[list[float], Field(min_length=4, max_length=100_000)]


class _Checked(BaseModel):
    """A part of a file: nothing unknown, nothing converted, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class About(_Checked):
    """Where and with what something was measured.

    Attributes:
        hardware: processor or accelerator, and threads.
        versions: of packages, by name.
    """

    hardware: Text
    versions: dict[Text, Text]


class Conditions(_Checked):
    """What all results of a comparison have in common.

    Attributes:
        pictures: drawn by every method, `batch` at a time, picture i from `seed + i`.
        prompts_hash: of the prompts.
        guidance: guidance scale; None for a model without.
        full_steps, converged_steps: of the full run and of the converged solution.
        converged_scheduler: of the converged solution, a name for `frdiff.set_scheduler`.
        weights_hash: of the denoisers' weights.
        device, dtype: where and in what the model ran.
        inputs: further arguments of the pipeline, as JSON; None without.
    """

    pictures: Some
    prompts_hash: Text
    seed: int
    batch: Some
    guidance: float | None
    full_steps: Some
    converged_steps: Some
    converged_scheduler: Text
    weights_hash: Text
    device: Text
    dtype: Text
    inputs: Text | None = None

    def definition(self) -> dict[str, Any]:
        """All fields that say something, for the names of files."""
        return self.model_dump(exclude_defaults=True)


class Record(_Checked):
    """What every result says of itself.

    Attributes:
        model: name of the model.
        family, setting, steps, scheduler: of the method.
        method: its whole definition.
        policy_hash: of the policy file; None for methods without one.
        setup: what it has in common with those that it may be compared with.
    """

    frdiff_bench: Literal[1] = 1
    model: Name
    family: Text
    setting: Text
    steps: Some
    scheduler: Text
    method: dict[str, Any]
    policy_hash: Text | None
    setup: Conditions
    about: About


class Fidelity(Record):
    """Likeness to the converged solution and to the full run, and cost.

    Attributes:
        agreement: median PSNR in dB of the converged solution to that with half as many steps:
            the floor of all errors.
        psnr_converged, ssim_converged: per picture, against the converged solution; PSNR in dB.
        psnr_full, ssim_full: per picture, against the full run.
        lpips_converged: per picture; None where LPIPS is not installed.
        seconds, seconds_full: of the timed batches, method and full run in turns.
        macs, macs_full: of one batch, denoisers only.
        nfe: steps that computed something; `reuse_steps` of them with stored features; None for
            peers, which do not say.
        jumps: steps without a denoiser call.
        peak_bytes: of tensors alive at a time beyond the model itself, one batch.
        bank_bytes: most bytes of stored features; None for peers.
    """

    kind: Literal["fidelity"] = "fidelity"
    agreement: float
    psnr_converged: Samples
    ssim_converged: Samples
    psnr_full: Samples
    ssim_full: Samples
    lpips_converged: Samples | None
    seconds: Annotated[list[Positive], Field(min_length=1)]
    seconds_full: Annotated[list[Positive], Field(min_length=1)]
    macs: Some
    macs_full: Some
    nfe: Count | None
    reuse_steps: Count | None
    jumps: Count | None
    peak_bytes: Count
    bank_bytes: Count | None

    @model_validator(mode="after")
    def _one_value_per_picture(self) -> "Fidelity":
        per_picture = (
            self.psnr_converged,
            self.ssim_converged,
            self.psnr_full,
            self.ssim_full,
            self.lpips_converged or self.psnr_full,
        )
        if {len(values) for values in per_picture} != {self.setup.pictures}:
            raise ValueError(f"metrics need one value per picture, {self.setup.pictures} in all")
        if len(self.seconds) != len(self.seconds_full):
            raise ValueError("seconds and seconds_full need one value per timed batch")
        return self


class Distribution(Record):
    """Likeness of many pictures to the training pictures and to the full run's.

    Attributes:
        point: the operating point: "full", "full, seeds B", a speed-up such as "2x", "claim"
            or "Karras".
        samples: pictures drawn.
        frechet_training, kernel_training, precision, recall: against the training pictures.
        frechet_full, kernel_full, precision_full, recall_full: against the full run with other
            seeds.
        accuracy: share of pictures that show what was asked for; None without prompts.
        inception: name of a network that others use too; None if it was not asked for.
        frechet_inception: against the full run with other seeds, through that network.
    """

    kind: Literal["distribution"] = "distribution"
    point: Text
    samples: Count
    frechet_training: float
    kernel_training: float
    precision: Share
    recall: Share
    frechet_full: float
    kernel_full: float
    precision_full: Share
    recall_full: Share
    accuracy: Share | None
    inception: Text | None = None
    frechet_inception: float | None = None


class Absence(_Checked):
    """Why a peer, or one setting of it, has no result: not installed, unfit, failed.

    Attributes:
        setting: None for all settings.
    """

    frdiff_bench: Literal[1] = 1
    kind: Literal["absence"] = "absence"
    model: Name
    family: Text
    setting: Text | None = None
    reason: Text


Result = Fidelity | Distribution | Absence
_KINDS: dict[str, type[Fidelity] | type[Distribution] | type[Absence]] = {
    "fidelity": Fidelity,
    "distribution": Distribution,
    "absence": Absence,
}


@dataclass(frozen=True)
class Results:
    """What a folder of results holds.

    Attributes:
        errors: a line for each file that holds no result.
    """

    fidelities: list[Fidelity]
    distributions: list[Distribution]
    absences: list[Absence]
    errors: list[str]


def about_here(device: torch.device) -> About:
    """What a measurement on `device` has to say of where it was made."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        threads = f"{torch.get_num_threads()} threads"
        hardware = f"{_processor() or platform.machine()}, {threads}"
    else:
        hardware = f"{platform.machine()} {device.type}"
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return About(hardware=hardware, versions=versions)


def _processor() -> str:
    """The processor's name as Linux tells it; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def absence_path(folder: Path, absence: Absence) -> Path:
    """The file that says why a family, or a setting of it, has no result."""
    slug = _slug(absence.model, absence.family, absence.setting or "")
    return folder / f"{slug}--absence.json"


def _slug(*words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def result_path(folder: Path, model: str, kind: str, definition: dict[str, Any]) -> Path:
    """The file for a measurement: its name holds a hash of everything that defines it."""
    text = json.dumps({"model": model, "kind": kind, **definition}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    slug = _slug(model, definition["method"]["family"])
    return folder / f"{slug}--{kind}--{digest}.json"


def write_result(path: Path, result: Result) -> None:
    """Write a result; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_result(path: Path) -> Result:
    """The result in a file.

    Raises:
        ValueError: not a result: too large, not JSON, or with fields unknown, missing or out of
            range; the text names the file and the field.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a result has at most {MAX_FILE_BYTES} bytes, got {size}")
    try:
        content = json.loads(path.read_bytes())
        kind = content.get("kind") if isinstance(content, dict) else None
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f'"kind" must be one of {", ".join(_KINDS)}')
        return _KINDS[kind].model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: not a valid result: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a valid result: {error}") from error


def read_results(paths: Iterable[Path]) -> Results:
    """The results in files; a file that cannot be read costs no more than its own result."""
    found = Results([], [], [], [])
    for path in sorted(paths):
        try:
            result = read_result(path)
        except (OSError, ValueError) as error:
            found.errors.append(" ".join(str(error).split()))
            continue
        if isinstance(result, Fidelity):
            found.fidelities.append(result)
        elif isinstance(result, Distribution):
            found.distributions.append(result)
        else:
            found.absences.append(result)
    return found
