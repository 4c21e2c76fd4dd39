"""The wheels: small, complete, and enough for the first five minutes."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_BYTES = 40e6

pytestmark = pytest.mark.slow


def printed(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    build = sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"
    for project in (ROOT, ROOT / "wheels/models"):
        printed(*build, "--wheel-dir", folder, project)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """An environment that has frdiff from its wheel alone, and what it needs from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(
        printed(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")[:-1]
    )
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(site)
    # After the wheel's: the checkout, which is installed here too, comes second.
    (site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = printed(python, "-c", "import frdiff; print(frdiff.__file__)", cwd=folder)
    assert where.strip() == str(site / "frdiff" / "__init__.py")
    return python, site


def test_both_are_below_40_mb(wheels):
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["frdiff", "frdiff_models"]
    assert all(wheel.stat().st_size < MOST_BYTES for wheel in wheels)


def test_they_share_a_version_and_no_file_and_have_all_that_is_tracked(wheels):
    assert len({wheel.name.split("-")[1] for wheel in wheels}) == 1
    first, second = ({*zipfile.ZipFile(wheel).namelist()} for wheel in wheels)
    assert not first & second
    tracked = printed("git", "ls-files", "src", cwd=ROOT).splitlines()
    assert {name.removeprefix("src/") for name in tracked} <= first | second
    assert "frdiff/py.typed" in first


def test_the_demo_runs_from_the_wheel(installed, tmp_path):
    python, _ = installed
    drawn = printed(
        *(python, "-m", "frdiff", "generate", "emoji", "red apple", "--policy", "high"),
        *("--guidance", "2", "--compare", "--repeats", "1", "--json", "--output", tmp_path),
        cwd=tmp_path,
    )
    assert '"speedup"' in drawn
    assert list(tmp_path.glob("*.png"))


def test_what_comes_in_the_second_wheel_is_named_until_it_is_there(installed, wheels):
    python, site = installed
    load = "import frdiff; frdiff.load_policy('emoji-dit/high'); frdiff.load_model('emoji-dit')"
    done = subprocess.run([python, "-c", load], capture_output=True, text=True, cwd=site)
    assert "pip install frdiff-models" in done.stderr
    with zipfile.ZipFile(wheels[1]) as wheel:
        wheel.extractall(site)
    printed(python, "-c", load, cwd=site)
