"""Files of JSON lines: what was added is there, whatever a kill left of the last line."""

import pytest

from frdiff.lines import Lines, OtherFileError

HEAD = {"kind": 1, "seed": 3}


def test_what_was_added_is_there_wherever_the_file_was_cut(tmp_path):
    path = tmp_path / "folder" / "rows"
    lines = Lines(path, HEAD)
    rows = [{"a": 1}, [2.5], "ü"]
    for row in rows:
        lines.add(row)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        again = Lines(path, HEAD)
        assert again.rows == rows[: max(whole[:end].count(b"\n") - 1, 0)]
        again.add("next")
        assert Lines(path, HEAD).rows == [*again.rows, "next"]


@pytest.mark.parametrize(
    ("content", "differs"),
    [
        (b'{"kind": 1, "seed": 4}\n', ["seed"]),
        (b'{"kind": 1}\n"row"\n', ["seed"]),
        (b'{"other": 1}\n', []),
        (b"my notes", []),
        (b"\xff\xfe\n", []),
    ],
)
def test_other_files_are_left_as_they_are(tmp_path, content, differs):
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(OtherFileError) as refused:
        Lines(path, HEAD)
    assert refused.value.differs == differs
    assert path.read_bytes() == content


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "rows"
    Lines(path, HEAD)
    with path.open("a") as file:
        file.write("no json\n")
    with pytest.raises(ValueError, match="rows, line 2: Expecting value"):
        Lines(path, HEAD)
