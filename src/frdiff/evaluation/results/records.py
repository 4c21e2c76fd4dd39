"""What a measurement says: records, checked field by field, and rounded to what can be told."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "MAX_TEXT",
    "About",
    "Absence",
    "Checked",
    "Conditions",
    "Distribution",
    "Fidelity",
    "Positive",
    "Record",
    "Text",
    "about_here",
]

# Names that become file names.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
PACKAGES = (
    "frdiff", "torch", "diffusers", "transformers", "torchmetrics",
    "torch-fidelity", "torchvision", "lpips",
    "DeepCache", "cache-dit", "dit-smoothcache", "tgate", "tomesd",
)  # fmt: skip

MAX_TEXT = 500


def _significant(value: float) -> float:
    """Six digits of a number, however small it is."""
    return float(f"{value:.6g}")


def _decibels(value: float) -> float:
    """To 0.0001 dB, that figures of one decimal stay what they were."""
    return round(value, 4)


def _likeness(value: float) -> float:
    """To 0.00001."""
    return round(value, 5)


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(pattern=NAME)]
Number = Annotated[float, AfterValidator(_significant)]
Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Some = Annotated[int, Field(gt=0, le=10**18)]
Decibels = Annotated[float, AfterValidator(_decibels)]
Likeness = Annotated[float, AfterValidator(_likeness)]
# Two halves of at least two: one to choose settings on, one to report.
_PerPicture = Field(min_length=4, max_length=100_000)
DecibelsEach = Annotated[list[Decibels], _PerPicture]
LikenessEach = Annotated[list[Likeness], _PerPicture]


class Checked(BaseModel):
    """A part of a file: nothing unknown, nothing converted, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class About(Checked):
    """Where and with what something was measured.

    Attributes:
        hardware: processor or accelerator, and threads.
        versions: of packages, by name.
    """

    hardware: Text
    versions: dict[Text, Text]


class Conditions(Checked):
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
    device: Name
    dtype: Name
    inputs: Text | None = None

    def definition(self) -> dict[str, Any]:
        """All fields that say something, for the names of files."""
        return self.model_dump(exclude_defaults=True)


class Record(Checked):
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

    @model_validator(mode="after")
    def _one_method(self) -> "Record":
        for name in ("family", "setting", "steps", "scheduler"):
            if self.method.get(name) != getattr(self, name):
                raise ValueError(f"method and record differ in {name}")
        return self


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
    agreement: Decibels
    psnr_converged: DecibelsEach
    ssim_converged: LikenessEach
    psnr_full: DecibelsEach
    ssim_full: LikenessEach
    lpips_converged: LikenessEach | None
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
    frechet_training: Number
    kernel_training: Number
    precision: Share
    recall: Share
    frechet_full: Number
    kernel_full: Number
    precision_full: Share
    recall_full: Share
    accuracy: Share | None
    inception: Text | None = None
    frechet_inception: Number | None = None


class Absence(Checked):
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
