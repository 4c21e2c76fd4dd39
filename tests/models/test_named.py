"""Profiles: every one keeps to its rule by what was measured, and is the fastest that does."""

import pytest

import frdiff
from command_line import run, the_line
from frdiff.models import profiles, shipped_models, shipped_policies
from frdiff.models.named import LEAST, LOSS, ONE_LEVEL, Measured, chosen, read_profiles

MODELS = shipped_models()


@pytest.mark.parametrize("model", MODELS)
def test_what_was_measured_is_what_ships(model):
    known, there = read_profiles(model), shipped_policies(model)
    steps, solver = known.full.calls, {"emoji-flow": "flow-euler"}.get(model, "dpm++")
    for row in known.policies:
        policy = there[row.policy]
        assert row.policy_hash == policy.digest
        assert row.calls == len(policy.plan(policy.num_steps).keyframes)
        assert len(row.decibels) == len(known.guidance) == len(known.full.decibels)
    # None that is for the same full run was left out.
    prefix = f"{solver}-{steps}-"
    assert {row.policy for row in known.policies} == {n for n in there if n.startswith(prefix)}


@pytest.mark.parametrize("model", MODELS)
def test_guidance_that_was_measured_reaches_both_ends_of_the_range(model):
    known, there = read_profiles(model), shipped_policies(model)
    for row in known.policies:
        tuned = there[row.policy].origin.guidance
        if tuned is None:
            assert known.guidance == [None]
        else:
            assert (min(known.guidance), max(known.guidance)) == tuple(tuned)


@pytest.mark.parametrize("model", MODELS)
def test_every_profile_meets_its_rule(model):
    found = profiles(model)
    assert {*found} == {"lossless", "high", "fast"}
    full = found["high"].full.decibels

    def behind(profile):  # dB further from the converged solution than the full run, at worst
        return max(own - db for own, db in zip(full, profile.measured.decibels, strict=True))

    assert behind(found["lossless"]) <= 0
    assert min(found["lossless"].measured.decibels) >= 48.13
    assert behind(found["high"]) <= 3
    assert found["fast"].speedup >= 3
    assert min(found["fast"].measured.decibels) >= 30
    assert found["lossless"].speedup <= found["high"].speedup


def row(name, calls, *decibels):
    return Measured(calls, decibels, name, "")


def test_the_fastest_that_keeps_to_the_rule_is_taken():
    full = Measured(24, (50.0, 40.0))
    slow = row("slow", 12, 60.0, ONE_LEVEL)
    close = row("close", 8, 50.0 - LOSS, 40.0 - LOSS)
    rough = row("rough", 6, LEAST, LEAST)
    assert chosen(full, [slow, close, rough]) == {
        "lossless": "slow",
        "high": "close",
        "fast": "rough",
    }


def test_a_rule_holds_at_every_guidance():
    full = Measured(24, (50.0, 40.0))
    once = row("once", 12, 60.0, 40.0)  # not within one level at the second
    behind = row("behind", 8, 60.0, 40.0 - LOSS - 0.1)
    assert chosen(full, [once, behind]) == {"high": "once", "fast": "behind"}


def test_no_policy_below_3x_is_fast():
    full = Measured(24, (50.0,))
    assert "fast" not in chosen(full, [row("half", 12, 60.0)])


def test_names_and_files_are_loaded(tmp_path, monkeypatch):
    by_name = frdiff.load_policy("digits/high")
    assert by_name == frdiff.load_policy(profiles("digits")["high"].path)
    assert frdiff.load_policy("digits/dpm++-25-speedup-3").origin.num_inference_steps == 8
    # A file of that name comes first.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    other = frdiff.UniformPolicy(3)
    other.save("digits/high")
    assert frdiff.load_policy("digits/high") == other


@pytest.mark.parametrize("name", ["digits/best", "digits/../emoji/high", "nothing/high"])
def test_unknown_names_are_refused(name):
    with pytest.raises(FileNotFoundError):
        frdiff.load_policy(name)


def test_the_command_lists_profiles():
    result = run("policies", "--json")
    assert result.exit_code == 0, result.output
    for name in MODELS:
        assert f'"model": "{name}"' in result.stdout
    said = run("policies").stdout
    assert "emoji/lossless" in said and "lossless: the fastest" in " ".join(said.split())


@pytest.mark.slow
def test_a_profile_alone_is_the_models(tmp_path):
    drawn = run("generate", "digits", "any", "--policy", "high", "--output", tmp_path, "--json")
    assert drawn.exit_code == 0, drawn.output
    assert '"keyframes": 6' in drawn.stdout
    message = the_line(run("generate", tmp_path, "any", "--policy", "high"))
    assert "profile of shipped models" in message
