"""What stands beside the code says the same as the code."""

from pathlib import Path

import yaml

from frdiff.version import __version__

ROOT = Path(__file__).parents[2]


def test_the_citation_names_the_version_and_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    assert cited["license"] == "Apache-2.0"
    paper = cited["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["So", "Lee", "Park"]
    assert paper["url"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_has_the_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changes and "## [Unreleased]" in changes


def test_pictures_of_the_pages_are_small():
    for path in (ROOT / "docs").glob("how-*.png"):
        assert path.stat().st_size <= 100_000, path.name
