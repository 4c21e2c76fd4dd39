"""The notebook, as its reader runs it: from the first cell to the last."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from frdiff.models import profiles

pytestmark = pytest.mark.xdist_group("notebook")  # it runs once
NOTEBOOK = Path(__file__).parents[2] / "examples" / "start.ipynb"
MOST_BYTES = 50_000


@pytest.fixture(scope="module")
def written():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(written, tmp_path_factory):
    """Its cells with outputs, run in an empty folder; the kernel is this Python."""
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(written.copy(), timeout=600, kernel_name="python3")
    client.execute(cwd=str(folder))
    return {cell.id: cell for cell in client.nb.cells}, folder


def said(cell):
    outputs = cell.get("outputs", [])
    return "".join(row.get("text", "") for row in outputs if row.get("name") == "stdout")


def test_it_is_small_and_holds_no_outputs(written):
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    nbformat.validate(written)
    codes = [cell for cell in written.cells if cell.cell_type == "code"]
    assert codes and all(not cell.outputs and cell.execution_count is None for cell in codes)


@pytest.mark.slow
def test_no_cell_warns_and_pictures_are_shown(executed):
    cells, _ = executed
    streams = [
        output.text for cell in cells.values() for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]  # fmt: skip
    assert not any("UserWarning" in text for text in streams), streams  # those of frdiff
    for name in ("enable", "compare", "draw", "inspect"):
        assert any("image/png" in output.get("data", {}) for output in cells[name].outputs), name


@pytest.mark.slow
def test_what_it_promises_of_its_policies_comes_true(executed):
    cells, folder = executed
    assert re.findall(r"^(\w+) +[\d.]+x", said(cells["load"]), re.M) == list(profiles("emoji"))
    assert "keyframes" in said(cells["enable"])
    for name, policy in (("compare", "high"), ("draw", "tuned")):
        found = re.findall(r"^(.*?) +\d+ steps .* ([\d.]+) dB$", said(cells[name]), re.M)
        decibels = {contender: float(text) for contender, text in found}
        assert decibels[policy] > decibels["fewer steps"]
    assert (folder / "policy.json").is_file()
    fits = re.findall(r"^(True|False)", said(cells["save"]), re.M)
    assert fits == ["True", "False"]  # digits, and a pipeline that it was not tuned on
