"""The site builds without a warning, needs no network, and its links lead somewhere."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import frdiff

# One process builds the site once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

ROOT = Path(__file__).parents[2]
LOADS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


@dataclass
class Links:
    """Of one page: what it links to, what it loads, and what can be linked to."""

    links: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    anchors: set = field(default_factory=set)


def read(page):
    found = Links()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            given = dict(attributes)
            found.anchors.update(filter(None, (given.get("id"), given.get("name"))))
            if tag == "a" and given.get("href"):
                found.links.append(given["href"])
            elif given.get(LOADS.get(tag)):
                found.loads.append(given[LOADS[tag]])

    Parser().feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, check=True, timeout=120,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def read_pages(site):
    return {page: read(page) for page in site.rglob("*.html") if page.name != "404.html"}


def test_links_lead_to_pages_and_places_that_are_there(site, read_pages):
    broken = defaultdict(list)
    for page, found in read_pages.items():
        for link in [*found.links, *found.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            there = target.is_file() and target.is_relative_to(site)
            if there and parts.fragment and target in read_pages:
                there = unquote(parts.fragment) in read_pages[target].anchors
            if not there:
                broken[page.name].append(link)
    assert not broken


def test_nothing_is_loaded_from_the_web(read_pages):
    loaded = {link for found in read_pages.values() for link in found.loads}
    assert loaded
    assert not [link for link in loaded if urlsplit(link).netloc]


def test_no_page_of_this_machine_is_named(site):
    for page in site.rglob("*.html"):
        assert str(ROOT) not in page.read_text(encoding="utf-8"), page


def test_the_reference_has_every_public_name(site):
    anchors = [place for page in (site / "api").glob("*.html") for place in read(page).anchors]
    named = {place.rpartition(".")[2] for place in anchors if place.startswith("frdiff.")}
    assert set(frdiff.__all__) - {"__version__"} <= named
