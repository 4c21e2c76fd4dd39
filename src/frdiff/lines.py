"""A file of JSON lines that is only ever added to, and that goes on after it was killed."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Lines", "OtherFileError"]


class OtherFileError(ValueError):
    """A file has another head, or none.

    Attributes:
        differs: the fields in which its head is another; none where it is of another kind.
    """

    def __init__(self, path: Path, differs: list[str]) -> None:
        super().__init__(f"{path} is another file")
        self.differs = differs


class Lines:
    """Rows kept in a file, each on disk before the next; what a kill left of the last is dropped.

    Args:
        path: made if it is not there, with its folder.
        head: the first line: what kind of file it is, and what its rows hang on.

    Attributes:
        rows: that were there, the head left out; hostile as any file.

    Raises:
        OtherFileError: the file has another head, or none; it is left as it is.
        ValueError: a line that is no JSON.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.rows: list[Any] = []
        first = json.dumps(head, sort_keys=True) + "\n"
        content = path.read_bytes() if path.is_file() else b""
        whole, newline, _ = content.rpartition(b"\n")
        if not newline and first.encode().startswith(content):  # nothing yet, or cut off
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(first, encoding="utf-8")
            return
        known, *rows = whole.split(b"\n") if newline else [content]
        said, wanted = _json(known), json.loads(first)
        if said != wanted:
            alike = isinstance(said, dict) and next(iter(head)) in said
            names = {*said, *wanted} if alike else ()
            differs = sorted(name for name in names if said.get(name) != wanted.get(name))
            raise OtherFileError(path, differs)
        for number, row in enumerate(rows, 2):
            try:
                self.rows.append(json.loads(row))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
        os.truncate(path, len(whole) + 1)

    def add(self, row: Any) -> None:
        """Write a row down."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
