"""Clips compared: walks lead through their ends, and figures can be checked by hand."""

import pytest
import torch
from PIL import Image

from frdiff.frames import FramePolicy, StyleGenerator, animate, compare, tune, walk
from frdiff.frames.comparing import flicker, psnr


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return StyleGenerator(8, 16, (16, 8, 8)).eval()


def latents(num_frames=24, ends=3):
    return walk(torch.randn(ends, 8, generator=torch.Generator().manual_seed(0)), num_frames)


@pytest.mark.parametrize(("ends", "num_frames"), [(2, 2), (2, 9), (3, 9), (4, 11)])
def test_a_walk_leads_through_its_ends(ends, num_frames):
    given = torch.randn(ends, 5)
    led = walk(given, num_frames)
    assert led.shape == (num_frames, 5)
    assert torch.allclose(led[[0, -1]], given[[0, -1]], atol=1e-6)
    if (num_frames - 1) % (ends - 1) == 0:
        assert torch.allclose(led[:: (num_frames - 1) // (ends - 1)], given, atol=1e-6)


@pytest.mark.parametrize(("ends", "num_frames"), [(1, 9), (5, 4)])
def test_walks_that_lead_nowhere_are_refused(ends, num_frames):
    with pytest.raises(ValueError, match="between two ends or more"):
        walk(torch.zeros(ends, 5), num_frames)


def test_figures_by_hand():
    full = torch.zeros(2, 3, 4, 4)
    other = full.clone()
    other[1] += 0.2
    assert psnr(full, other) == [100.0, pytest.approx(20.0)]
    assert flicker(other) == pytest.approx(0.2)


def test_clips_are_compared_with_the_full_one(generator, tmp_path):
    policies = {"linear": FramePolicy(2, 1, ()), "cubic": FramePolicy(2, 3, ())}
    calls = []
    outcomes = compare(
        generator,
        latents(),
        policies,
        others={"dark": lambda row: torch.full((1, 3, 32, 32), -1.0)},
        rounds=1,
        on_clip=lambda: calls.append(1),
    )
    full, linear, cubic, dark = outcomes
    assert [one.name for one in outcomes] == ["full", "linear", "cubic", "dark"]
    assert len(calls) == 8
    assert full.psnr == full.worst == 100 and full.flicker == full.speedup == 1
    assert linear.psnr < cubic.psnr < 100 and linear.worst <= linear.psnr
    assert dark.flicker == 0 and dark.psnr < linear.psnr
    assert cubic.row()["macs_ratio"] == pytest.approx(13 / 24)
    animate(outcomes, tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as clip:
        assert clip.n_frames > 1


@pytest.mark.parametrize("speedup", [1.5, 3])
def test_tune_finds_the_nearest_of_those_as_fast(generator, speedup):
    clip = latents(30)
    told = []
    policy = tune(generator, clip, speedup, on_clip=lambda *done: told.append(done))
    assert told[-1] == (18, 18)
    found, linear = compare(
        generator, clip, {"tuned": policy, "linear": FramePolicy(policy.interval, 1, ())}, rounds=1
    )[1:]
    assert found.stats.macs_ratio <= 1.05 / speedup + 1 / len(clip)
    assert found.psnr >= linear.psnr


def test_a_speed_that_nothing_reaches_is_refused(generator):
    with pytest.raises(ValueError, match="ask for less speed"):
        tune(generator, latents(12), 900)
