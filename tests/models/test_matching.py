"""What fits a pipeline, and why other policies do not."""

import pytest

import frdiff
from command_line import run
from conftest import make_pipe


@pytest.fixture(scope="module")
def digits():
    return frdiff.load_model("digits")


def test_profiles_of_a_shipped_model_fit_it_and_no_other(digits):
    before = digits.scheduler
    rows = frdiff.match(digits)
    assert {row.name.partition("/")[0] for row in rows if row.fits} == {"digits"}
    assert {"digits/lossless", "digits/high", "digits/fast"} <= {r.name for r in rows if r.fits}
    assert [row.fits for row in rows] == sorted((row.fits for row in rows), reverse=True)
    assert digits.scheduler is before


def test_it_says_why(digits, tmp_path):
    rows = {row.name: row for row in frdiff.match(digits)}
    assert "num_inference_steps=" in rows["digits/high"].why
    assert "tuned on UNet2DConditionModel" in rows["emoji/high"].why
    assert "got UNet2DModel" in rows["emoji/high"].why
    # What was not tuned fits anything.
    frdiff.JumpPolicy(2).save(tmp_path / "jumps.json")
    (row,) = frdiff.match(digits, [tmp_path / "jumps.json"])
    assert row.fits and row.name.endswith("jumps.json")


def test_what_says_that_it_fits_can_be_enabled_and_what_says_not_cannot():
    pipe = make_pipe()
    for row in frdiff.match(pipe):
        assert not row.fits
        with pytest.raises(ValueError, match="tuned"):
            frdiff.enable(pipe, row.name)


def test_a_pipeline_fits_as_well_while_a_policy_is_on_it(digits):
    plain = frdiff.match(digits)
    frdiff.enable(digits, "high")
    try:
        assert frdiff.match(digits) == plain
    finally:
        frdiff.disable(digits)


def test_the_command_says_what_fits():
    result = run("policies", "digits", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.index('"fits": true') < result.stdout.index('"fits": false')
