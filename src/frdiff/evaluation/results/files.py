"""Result files: a line of JSON per measurement, one file per model, never trusted when read.

A line is known by a key made of everything that defines its measurement, so a bench that runs
again finds what it has done. Lines are appended, each on disk before the next, and brought into
the order of their keys at the end of a bench: measuring again changes a measurement's own line.
Whoever writes holds a lock, so several processes add to one file.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from frdiff.evaluation.results.records import MAX_TEXT, Absence, Distribution, Fidelity

__all__ = [
    "Result",
    "Results",
    "add_result",
    "key_of",
    "keys_in",
    "measurement_key",
    "read_results",
    "results_path",
    "strip_path",
    "tidy",
]

MAX_LINE_BYTES = 4_000_000
MAX_FILE_BYTES = 200_000_000
MAX_SLUG = 100  # of characters, in names of files

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
        errors: a line for each line of a file that holds no result.
    """

    fidelities: list[Fidelity]
    distributions: list[Distribution]
    absences: list[Absence]
    errors: list[str]


@dataclass(frozen=True)
class _Line:
    """A line of a file.

    Attributes:
        text: as it is there.
        result: None where it holds none, for the reason in `error`.
        whole: JSON, be it a result or not; what a kill left of a line is none.
    """

    text: bytes
    result: Result | None
    error: str
    whole: bool


def results_path(folder: Path, model: str) -> Path:
    """The file of a model's results."""
    return folder / f"{model}.jsonl"


def strip_path(folder: Path, key: str) -> Path:
    """Where the first pictures of a measurement lie, if they were drawn here."""
    return folder / "strips" / f"{key}.png"


def measurement_key(model: str, kind: str, definition: dict[str, Any]) -> str:
    """A name for a measurement, fit for a file: it ends with a hash of all that defines it."""
    text = json.dumps({"model": model, "kind": kind, **definition}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{_slug(model, definition['method']['family'])}--{kind}--{digest}"


def key_of(result: Result) -> str:
    """The key of a result, made of what it says of itself."""
    if isinstance(result, Absence):
        return f"{_slug(result.model, result.family, result.setting or '')}--absence"
    definition: dict[str, Any] = {"method": result.method, "setup": result.setup.definition()}
    if isinstance(result, Distribution):
        definition["point"] = result.point
        if result.inception is not None:
            definition["inception"] = result.inception
    return measurement_key(result.model, result.kind, definition)


def _slug(*words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:MAX_SLUG]


def keys_in(folder: Path, model: str) -> set[str]:
    """The keys of all results of a model that can be read; others are to be measured again.

    Raises:
        ValueError: the model's file is too large to be one.
    """
    lines = _lines(results_path(folder, model))
    return {key_of(line.result) for line in lines if line.result is not None}


def add_result(folder: Path, result: Result) -> None:
    """Append a result to its model's file; on disk when this returns."""
    line = result.model_dump_json().encode() + b"\n"
    path = results_path(folder, result.model)
    with _alone(path), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            # What a kill left of a line must not swallow this one.
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def tidy(folder: Path, model: str) -> None:
    """Bring a model's file into the order of its keys: one line each, the last that was added.

    What a kill left of a line goes. Other lines that hold no result are kept, at the end.

    Raises:
        ValueError: the model's file is too large to be one; it is left as it is.
    """
    path = results_path(folder, model)
    if not path.is_file():
        return
    with _alone(path):
        lines = list(_lines(path))
        results = {key_of(line.result): line.text for line in lines if line.result is not None}
        strange = [line.text for line in lines if line.result is None and line.whole]
        ordered = [results[key] for key in sorted(results)]
        content = b"".join(text + b"\n" for text in [*ordered, *strange])
        if content == path.read_bytes():
            return
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def read_results(folder: Path) -> Results:
    """The results in a folder; what cannot be read costs no more than its own result.

    Of several results of one measurement the last counts.
    """
    found = Results([], [], [], [])
    for path in sorted(folder.glob("*.jsonl")):
        results: dict[str, Result] = {}
        try:
            for line in _lines(path):
                if line.result is None:
                    found.errors.append(line.error)
                else:
                    results[key_of(line.result)] = line.result
        except (OSError, ValueError) as error:
            found.errors.append(" ".join(str(error).split()))
        for _, result in sorted(results.items()):
            if isinstance(result, Fidelity):
                found.fidelities.append(result)
            elif isinstance(result, Distribution):
                found.distributions.append(result)
            else:
                found.absences.append(result)
    return found


def _alone(path: Path) -> FileLock:
    """Held by whoever writes; a process that dies lets it go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"))


def _lines(path: Path) -> Iterator[_Line]:
    """The lines of a file, none if it is not there.

    Raises:
        ValueError: it is too large.
    """
    if not path.is_file():
        return
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"{path}: a file of results has at most {MAX_FILE_BYTES} bytes, got {size}; "
            "move it away or split it"
        )
    for number, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if text.strip():
            yield _line(f"{path}, line {number}", path.stem, text)


def _line(place: str, model: str, text: bytes) -> _Line:
    """A line, checked field by field."""

    def refused(reason: str, whole: bool) -> _Line:
        said = " ".join(f"{place}: not a valid result: {reason}".split())
        return _Line(text, None, said[:MAX_TEXT], whole)

    if len(text) > MAX_LINE_BYTES:
        return refused(f"at most {MAX_LINE_BYTES} bytes, got {len(text)}", whole=True)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return refused(f"no JSON: {error}", whole=False)
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        return refused(f'"kind" must be one of {", ".join(_KINDS)}', whole=True)
    try:
        result = _KINDS[kind].model_validate(content)
        key_of(result)  # may nest too deep to be written
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return refused(f"{field}: {first['msg']}", whole=True)
    except (ValueError, RecursionError) as error:
        return refused(str(error), whole=True)
    if result.model != model:
        return refused(f"model: this file holds results of {model}, got {result.model}", whole=True)
    return _Line(text, result, "", whole=True)
