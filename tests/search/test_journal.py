import pytest

from frdiff.search.journal import Journal

IDENTITY = {"seed": 0, "prompts": ["a", "b"]}


def test_what_was_written_is_there_again(tmp_path):
    path = tmp_path / "folder" / "journal"
    journal = Journal(path, IDENTITY)
    journal["one"] = [1.5, 2.5]
    journal["two"] = []
    again = Journal(path, IDENTITY)
    assert dict(again) == {"one": [1.5, 2.5], "two": []}
    assert "three" not in again


def test_a_kill_at_any_byte_loses_the_last_answer_at_most(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, IDENTITY)
    for number in range(3):
        journal[f"question {number}"] = [float(number)]
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        again = Journal(path, IDENTITY)
        complete = max(whole[:end].count(b"\n") - 1, 0)
        assert dict(again) == {f"question {n}": [float(n)] for n in range(complete)}
        again["next"] = 1
        assert dict(Journal(path, IDENTITY)) == {**again}


def test_another_search_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "journal"
    Journal(path, IDENTITY)
    with pytest.raises(ValueError, match="another search, which differs in seed; delete it"):
        Journal(path, IDENTITY | {"seed": 1})


@pytest.mark.parametrize(
    "content", [b"no JSON\n", b"no line", b"[1]\n", b'{"a": 1}\n', b"\xff\xfe\n"]
)
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="journal"):
        Journal(path, IDENTITY)
    assert path.read_bytes() == content


def test_a_hostile_line_is_refused(tmp_path):
    path = tmp_path / "journal"
    Journal(path, IDENTITY)
    with path.open("a") as file:
        file.write('["a", "b"]\n')
    with pytest.raises(ValueError, match="one question with its answer"):
        Journal(path, IDENTITY)


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal(None, IDENTITY)
    journal["a"] = 1
    assert dict(journal) == {"a": 1}
    assert list(tmp_path.iterdir()) == []
