"""Seconds on the hardware that they were measured on: rows of the bench, and of `bench/gpu.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from frdiff.evaluation.results.records import Checked, Positive, Text
from frdiff.evaluation.results.summary import Row, Standing

__all__ = ["Speed", "gpu_speeds", "speeds_of"]

MAX_FILE_BYTES = 4_000_000
SHOWN = ("tuned", "frdiff")  # groups
MIB = 2**20

Amount = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Speed:
    """How fast one method ran somewhere.

    Attributes:
        model: what drew, and how it was compiled if it was.
        hardware, dtype: where, and in what.
        pictures: drawn at a time; None where that is not said.
        method: what was measured.
        seconds: of one batch.
        speedup: of the untouched run's seconds / the method's; `spread` its least and greatest.
        by_macs: the same of MACs; None where they were not counted.
        bank, peak: MiB of stored features, and of tensors alive at a time beyond the model.
        psnr: median in dB to the converged solution; None for random weights.
    """

    model: str
    hardware: str
    dtype: str
    pictures: int | None
    method: str
    seconds: float
    speedup: float
    spread: tuple[float, float]
    by_macs: float | None
    bank: float | None
    peak: float
    psnr: float | None


class _GpuRow(Checked):
    """A row of `bench/gpu.json`; bank and peak in MiB."""

    case: Text
    method: Text
    seconds: Positive
    speedup: Positive
    spread: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    macs: Positive | None
    bank: Amount
    peak: Amount
    first: float


class _GpuFile(Checked):
    """What `bench/gpu.py --output` writes."""

    device: Text
    torch: Text
    diffusers: Text
    dtype: Text
    rounds: int | None = None
    rows: Annotated[list[_GpuRow], Field(max_length=10_000)]


def gpu_speeds(path: Path) -> list[Speed]:
    """The rows of a file that `bench/gpu.py --output` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else; the text names the field.
    """
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: at most {MAX_FILE_BYTES} bytes, got {size}")
    try:
        file = _GpuFile.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: not what bench/gpu.py writes: {field}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not what bench/gpu.py writes: {error}") from error
    return [_of_gpu(file, row) for row in file.rows]


def _of_gpu(file: _GpuFile, row: _GpuRow) -> Speed:
    name, pictures, mode = _parts(row.case)
    return Speed(
        model=name if mode == "eager" else f"{name}, {mode}",
        hardware=file.device,
        dtype=file.dtype,
        pictures=pictures,
        method="full run" if row.method == "plain" else row.method,
        seconds=row.seconds,
        speedup=row.speedup,
        spread=(row.spread[0], row.spread[1]),
        by_macs=row.macs,
        bank=row.bank,
        peak=row.peak,
        psnr=None,
    )


def _parts(case: str) -> tuple[str, int | None, str]:
    """Name, pictures and mode of a case such as "SDXL:4:eager"."""
    name, *rest = case.rsplit(":", 2)
    if len(rest) == 2 and rest[0].isdecimal():
        return name, int(rest[0]), rest[1]
    return case, None, "eager"


def speeds_of(
    name: str, full: Row | None, groups: Sequence[Standing], speedups: Sequence[float]
) -> list[Speed]:
    """The full run of a model, and what this library reaches at each speed-up.

    Args:
        name: of the model, and its guidance.
        full: None if it was not measured.
        groups: how each group stands.
        speedups: keys of `Standing.best`.
    """
    standing = {each.name: each for each in groups}
    best = [
        standing[group].best[speedup]
        for group in SHOWN
        if group in standing
        for speedup in speedups
    ]
    found = [] if full is None else [_of_bench(name, f"full run, {full.result.setting}", full)]
    for row in {id(row): row for row in best if row is not None}.values():
        found.append(_of_bench(name, f"{row.result.family}, {row.result.setting}", row))
    return found


def _of_bench(name: str, method: str, row: Row) -> Speed:
    result = row.result
    bank = result.bank_bytes
    return Speed(
        model=name,
        hardware=result.about.hardware,
        dtype=result.setup.dtype,
        pictures=result.setup.batch,
        method=method,
        seconds=row.seconds,
        speedup=row.speedup,
        spread=row.spread,
        by_macs=1 / row.macs_ratio,
        bank=None if bank is None else bank / MIB,
        peak=result.peak_bytes / MIB,
        psnr=row.psnr,
    )
