"""The manifest of a folder of pictures: what is there, and of what; never trusted when read."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frdiff.lines import Lines, OtherFileError
from frdiff.policy.checks import built, check_int, quote
from frdiff.posteriors.manifest import sha256_of

__all__ = ["Entry", "Manifest", "read_prompts"]

NAME = "manifest.jsonl"
VERSION = 1
MOST_PICTURES = 10**9
MOST_CHARACTERS = 100_000


@dataclass(frozen=True)
class Entry:
    """A picture that is there.

    Attributes:
        index: of its prompt's line, from 0.
        prompt: as it stands there.
        seed: it was drawn from.
        file: its name in the folder.
        sha256: of the file.
    """

    index: int
    prompt: str
    seed: int
    file: str
    sha256: str

    def __post_init__(self) -> None:
        check_int("index", self.index, 0, MOST_PICTURES)
        check_int("seed", self.seed, 0, 2**63)
        for name in ("prompt", "sha256", "file"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a text, got {quote(getattr(self, name))}")
        if self.file != file_of(self.index):
            raise ValueError(f"picture {self.index} must be {file_of(self.index)}, got {self.file}")


def file_of(index: int) -> str:
    """The file name of a picture."""
    return f"{index:08}.png"


class Manifest:
    """Appends to a folder's manifest, a line a picture; one that was killed goes on.

    Args:
        folder: of the pictures; made if it is not there.
        recipe: what all of them hang on.

    Raises:
        ValueError: the folder has a manifest of other pictures, or one that cannot be read.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self.folder = folder
        self.path = folder / NAME
        try:
            self._lines = Lines(self.path, {"frdiff_pictures": VERSION, **recipe})
        except OtherFileError as error:
            which = f", which differ in {', '.join(error.differs)}" if error.differs else ""
            raise ValueError(
                f"{self.path} is of other pictures{which}; take another folder"
            ) from None
        self.entries: dict[int, Entry] = {}
        for number, row in enumerate(self._lines.rows, 2):
            try:
                entry = built(Entry, "a picture", row)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from error
            self.entries[entry.index] = entry

    def add(self, index: int, prompt: str, seed: int, picture: bytes) -> None:
        """Write a picture, then its line."""
        entry = Entry(index, prompt, seed, file_of(index), hashlib.sha256(picture).hexdigest())
        temporary = self.folder / f"{entry.file}.tmp"
        temporary.write_bytes(picture)
        temporary.replace(self.folder / entry.file)
        self._lines.add(asdict(entry))
        self.entries[index] = entry

    def has(self, index: int, prompt: str, verify: bool) -> bool:
        """Whether a picture is there.

        Args:
            verify: whether its file must have the contents that were written.

        Raises:
            ValueError: there is one of another prompt.
        """
        entry = self.entries.get(index)
        if entry is None:
            return False
        if entry.prompt != prompt:
            raise ValueError(
                f"line {index + 1} says {quote(prompt)}, but {self.folder / entry.file} is of "
                f"{quote(entry.prompt)}: the prompts were changed; take another folder"
            )
        path = self.folder / entry.file
        if not path.is_file():
            return False
        return not verify or sha256_of(path) == entry.sha256


def read_prompts(path: Path) -> Iterator[str]:
    """The lines of a file of prompts, one by one.

    Raises:
        ValueError: an empty line, or one that is no text of at most 100,000 characters.
    """
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                prompt = line.rstrip("\r\n")
                if not prompt.strip() or len(prompt) > MOST_CHARACTERS:
                    raise ValueError(
                        f"{path}, line {number}: a prompt has 1 to {MOST_CHARACTERS:,} characters, "
                        f"got {len(prompt.strip())}"
                    )
                yield prompt
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8: {error}") from error
