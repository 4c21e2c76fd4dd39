"""The journal of a search: what was measured, written down at once, so that nothing is lost."""

import json
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal(MutableMapping[str, Any]):
    """Answers by question, kept in a file of JSON lines.

    A search that is killed and begun again asks the same questions in the same order and finds
    its answers here. A line that was cut off by the kill is dropped, its question asked again.

    Args:
        path: None keeps nothing on disk.
        identity: of the search; a file of another is refused.

    Raises:
        ValueError: the file belongs to another search, or is no journal.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any]) -> None:
        self.path = path
        self._answers: dict[str, Any] = {}
        if path is None:
            return
        header = _line({"frdiff_search": identity})
        content = path.read_bytes() if path.is_file() else b""
        whole, newline, _ = content.rpartition(b"\n")
        if not newline and header.encode().startswith(content):  # nothing yet, or cut off
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(header, encoding="utf-8")
            return
        try:
            first, *rows = [json.loads(line) for line in whole.splitlines()]
            known = first["frdiff_search"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not the journal of a search; choose another file"
            ) from error
        wanted = json.loads(header)["frdiff_search"]
        if known != wanted:
            said = known if isinstance(known, dict) else {}
            other = sorted(name for name in wanted if said.get(name) != wanted[name])
            raise ValueError(
                f"{path} is the journal of another search, which differs in {', '.join(other)}; "
                "delete it to begin anew, or choose another file"
            )
        for row in rows:
            if not (isinstance(row, dict) and len(row) == 1):
                raise ValueError(f"{path}: a line must be one question with its answer, got {row}")
            self._answers |= row
        os.truncate(path, len(whole) + 1)

    def __getitem__(self, question: str) -> Any:
        return self._answers[question]

    def __setitem__(self, question: str, answer: Any) -> None:
        self._answers[question] = answer
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line({question: answer}))
                file.flush()
                os.fsync(file.fileno())

    def __delitem__(self, question: str) -> None:
        raise TypeError("answers are not taken back")

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
