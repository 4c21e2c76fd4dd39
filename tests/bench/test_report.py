from PIL import Image

from frdiff.bench.analysis_figures import analysis_paths
from frdiff.bench.report import write_report
from frdiff.bench.results import write_result
from frdiff.bench.summary import rows_of, standings
from made_results import fidelity

FULL = "fewer steps, DPM-Solver++"


def test_a_model_whose_name_begins_like_another_has_its_own_analysis(tmp_path):
    for model in ("toy", "toy-dit"):
        write_result(tmp_path / f"{model}.json", fidelity(FULL, "25 steps", 100, 50.0, model=model))
        for path in analysis_paths(tmp_path, model):
            Image.new("RGB", (8, 8)).save(path)
    write_report(tmp_path, tmp_path / "page")
    page = (tmp_path / "page/index.html").read_text()
    for part in ("similarity", "spectrum", "price"):
        assert page.count(f"<figcaption>{part}</figcaption>") == 2


def test_a_setting_is_chosen_on_some_pictures_and_reported_on_the_others():
    def drawn(setting, first, second):
        result = fidelity("frdiff", setting, 40, 0.0)
        return result.model_copy(update={"psnr_converged": [first, second] * 2})

    lucky, good = drawn("lucky", 60.0, 30.0), drawn("good", 50.0, 50.0)
    results = [
        fidelity(FULL, "25 steps", 100, 50.0),
        fidelity(FULL, "8 steps", 40, 40.0),
        lucky,
        good,
    ]
    (ours,) = (row for row in standings(results) if row.name == "frdiff")
    assert ours.best[2.0].result.setting == "lucky" and ours.best[2.0].psnr == 30.0
    assert ours.best[2.0].above == -10.0
    assert ours.best[3.0] is None


def test_above_fewer_steps_at_equal_time_and_at_equal_macs():
    slow = fidelity("frdiff", "x", 40, 45.0, seconds=70)
    results = [fidelity(FULL, "25 steps", 100, 50.0), fidelity(FULL, "8 steps", 40, 40.0), slow]
    row = next(row for row in rows_of(results) if row.group == "frdiff")
    # Fewer steps have 40 dB at 40 of the seconds or MACs, 45 at 70.
    assert abs(row.above) < 1e-9 and abs(row.above_macs - 5.0) < 1e-9


def test_each_guidance_of_a_model_has_a_section_and_a_table(tmp_path):
    for guidance in (2.0, 7.5):
        for family, speed in ((FULL, 100), (FULL, 40), ("tuned", 40)):
            made = fidelity(family, f"{speed} of the time", speed, speed / 2, model="emoji")
            setup = made.setup.model_copy(update={"guidance": guidance})
            name = f"{family}{speed}{guidance}".replace(" ", "")
            write_result(tmp_path / f"{name}.json", made.model_copy(update={"setup": setup}))
    report = write_report(tmp_path, tmp_path / "page")
    names = ["emoji, guidance 2", "emoji, guidance 7.5"]
    assert list(report.families) == names and not report.errors
    tables = (tmp_path / "page/standings.md").read_text()
    assert [line for line in tables.splitlines() if line.startswith("##")] == [
        f"## {name}" for name in names
    ]
    # 20 dB at 0.4 of the seconds, as fewer steps have.
    cell = "20.0 [20.0, 20.0] (+0.0): 40 of the time"
    assert tables.count(f"| **tuned** | {cell} | {cell} | - |") == 2
    pictures = {path.name for path in (tmp_path / "page").glob("*psnr-time.png")}
    assert pictures == {"emoji-psnr-time.png", "emoji-7.5-psnr-time.png"}
