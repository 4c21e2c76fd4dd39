"""Every denoiser class has one page, and pages say what tests and files say."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from frdiff.catalogue import CALLS, NOT_DENOISERS
from frdiff.catalogue.full_size import find_full_sizes

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs/scripts"))

from families import counted, families, pages  # noqa: E402


def test_every_class_of_the_registry_is_on_one_page():
    places = Counter(name for family in families() for name in family.classes)
    assert set(places) == set(CALLS) - set(NOT_DENOISERS)
    assert set(places.values()) == {1}


def test_every_row_of_the_table_is_on_the_page_of_its_class():
    text = pages()
    for row in counted():
        (family,) = [one for one in families() if row.class_name in one.classes]
        page = text[f"families/{family.slug}.md"]
        name = "" if row.name == row.class_name else row.name
        assert f"| {name} | `{row.class_name}` | {row.at} |" in page
        assert f"| {row.ratios['all']:.3f}, {row.mib['all']:,} |" in page


def test_what_the_pages_inspect_is_known():
    for row in counted():
        assert find_full_sizes([row.name])


def test_the_table_has_every_class():
    assert {row.class_name for row in counted()} == set(CALLS) - set(NOT_DENOISERS)


def test_pipelines_are_those_that_tests_run():
    named = [name for family in families() for name in family.pipelines]
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests").glob("pipelines_zoo*.py")]
    built = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.endswith("Pipeline")
    }
    assert sorted(named) == sorted(built - {"DiffusionPipeline"})


def test_measured_rows_are_those_of_the_files():
    page = pages()["families/stable-diffusion.md"]
    assert "| SDXL, 4, eager | all, interval 3, linear | 2.61x | 2.76x | 1,120 |" in page
    assert "`emoji/lossless`" in page and "`digits/lossless`" in page
    assert "not measured" not in page
    assert "No trained model" in pages()["families/wan.md"]


def test_a_table_of_another_form_is_refused(monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/models.md").write_text("| a | `A` | 1 px | 1 | 2.0 | 1 / 0.1 / 3 | yes |\n")
    monkeypatch.setattr("families.ROOT", tmp_path)
    with pytest.raises(ValueError, match="1 sets of targets"):
        counted()


def test_every_page_is_on_the_way_through_the_site():
    def places(entry):
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [place for part in parts for place in places(part)]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    folder = ROOT / "docs"
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert sorted(places(nav)) == sorted(written | set(pages()))
