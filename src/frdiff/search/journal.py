"""The journal of a search: what was measured, written down at once, so that nothing is lost."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from frdiff.lines import Lines, OtherFileError

__all__ = ["Journal"]

VERSION = 1


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
        self._answers: dict[str, Any] = {}
        self._lines = None if path is None else _opened(path, identity)
        for row in self._lines.rows if self._lines else ():
            if not (isinstance(row, dict) and len(row) == 1):
                raise ValueError(f"{path}: a line must be one question with its answer, got {row}")
            self._answers |= row

    def __getitem__(self, question: str) -> Any:
        return self._answers[question]

    def __setitem__(self, question: str, answer: Any) -> None:
        self._answers[question] = answer
        if self._lines is not None:
            self._lines.add({question: answer})

    def __delitem__(self, question: str) -> None:
        raise TypeError("answers are not taken back")

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def _opened(path: Path, identity: dict[str, Any]) -> Lines:
    try:
        return Lines(path, {"frdiff_search": VERSION, **identity})
    except OtherFileError as error:
        if not error.differs:
            raise ValueError(
                f"{path} is not the journal of a search; choose another file"
            ) from None
        raise ValueError(
            f"{path} is the journal of another search, which differs in "
            f"{', '.join(error.differs)}; delete it to begin anew, or choose another file"
        ) from None
