import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)

import frdiff
import frdiff.sampling
from conftest import ddim, make_dit_pipe, make_pixel_unet
from frdiff.compare import Contender, compare, draw_grid, picture, psnr, ssim
from frdiff.sampling import (
    CONVERGED,
    SCHEDULERS,
    interchangeable,
    sample,
    scheduler_name,
    set_scheduler,
)


def test_psnr_of_a_constant_shift():
    black = np.zeros((2, 16, 16, 3), np.float32)
    assert psnr(black, black + 0.1) == pytest.approx([20.0, 20.0], abs=1e-4)
    assert psnr(black, black) == [float("inf")] * 2


def test_ssim_of_equal_pictures_is_one():
    pictures = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
    assert ssim(pictures, pictures) == pytest.approx([1.0])
    assert ssim(pictures, 1 - pictures)[0] < 0.1


def test_contenders_draw_the_same_noise_and_the_first_is_the_reference():
    pipe = make_dit_pipe()
    set_scheduler(pipe, CONVERGED)
    calls = []
    outcomes = compare(
        pipe,
        [
            Contender("full", 12),
            Contender("same", 12),
            Contender("ours", 12, frdiff.UniformPolicy(3, mixing=False, targets="residual")),
            Contender("fewer", 10),
        ],
        ["1", "2"],
        repeats=2,
        converged=12,
        on_call=lambda: calls.append(1),
    )
    full, same, ours, fewer = outcomes
    assert len(calls) == 8
    assert np.array_equal(full.images, same.images)
    assert (full.speedup, full.macs_ratio, full.psnr) == (1.0, 1.0, float("inf"))
    assert same.ssim == pytest.approx(1.0)
    assert ours.stats.keyframes == 4 and ours.macs_ratio == ours.stats.macs_ratio < 1
    assert fewer.macs_ratio == pytest.approx(10 / 12)
    assert 0 < ours.psnr < float("inf")
    assert ours.psnr_converged == ours.psnr
    assert full.psnr_converged == float("inf")
    assert set(ours.row()) == {
        "name", "steps", "seconds", "speedup", "macs_ratio", "psnr", "ssim", "bank_bytes_peak",
        "psnr_converged", "seconds_spread", "peak_bytes",
    }  # fmt: skip
    # What stands beside one another in a table agrees.
    assert ours.speedup == full.seconds / ours.seconds
    assert ours.seconds == pytest.approx(sum(ours.rounds) / 2)
    fastest, slowest = sorted(ours.rounds)
    assert ours.seconds * (1 + ours.spread) == pytest.approx(slowest)
    assert ours.seconds * (1 - ours.spread) == pytest.approx(fastest)


def test_a_contender_may_have_its_own_scheduler_and_the_pipeline_keeps_its():
    pipe = make_dit_pipe()
    own = pipe.scheduler
    contenders = [Contender("full", 10), Contender("heun", 10, None, "heun")]
    _, heun = compare(pipe, contenders, ["1"], repeats=1)
    assert pipe.scheduler is own
    # Heun evaluates twice per step but the last.
    assert heun.macs_ratio == pytest.approx(19 / 10)


def test_schedulers_know_their_names():
    pipe = make_dit_pipe()
    for name in SCHEDULERS:
        assert scheduler_name(set_scheduler(pipe, name)) == name
    assert scheduler_name(LCMScheduler()) is None
    assert interchangeable(set_scheduler(pipe, "euler"))
    assert not interchangeable(set_scheduler(pipe, "euler-a"))
    assert not interchangeable(LCMScheduler())


def test_compare_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match="first contender must be the untouched pipeline"):
        compare(None, [Contender("ours", 12, frdiff.UniformPolicy(2))], ["1"])
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        compare(None, [Contender("full", 12)], ["1"], repeats=0)


def test_grid_has_a_row_per_contender_and_a_column_per_prompt():
    pictures = np.ones((3, 64, 64, 3), np.float32) * [1.0, 0.0, 0.0]
    sheet = draw_grid([("full\n12 steps", pictures), ("ours", pictures)], ["a", "b", "c" * 60])
    assert sheet.height == 26 + 2 * 128
    assert sheet.getpixel((sheet.width - 5, sheet.height - 5)) == (255, 0, 0)


def test_a_picture_depends_on_its_own_seed_alone():
    pipe = make_dit_pipe()
    together = sample(pipe, ["1", "2"], steps=2, seed=5)
    alone = sample(pipe, ["2"], steps=2, seed=6)
    np.testing.assert_allclose(together[1:], alone, atol=1e-4)


def test_the_loop_draws_what_the_pipeline_draws(monkeypatch):
    """Where a scheduler suits both, the loop that stands in for the pipeline's is the same."""
    pipe = make_dit_pipe()
    theirs = sample(pipe, ["1", "2"], steps=4, guidance=2.0)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    ours = frdiff.sampling._loop_classes(pipe, generators, 4, [1, 2], 2.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)

    pipe = DDIMPipeline(make_pixel_unet(), ddim())
    theirs = sample(pipe, ["", ""], steps=4)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    ours = frdiff.sampling._loop_unconditional(pipe, generators, 4)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_euler_and_ddim_agree_where_the_pipeline_takes_only_one():
    """Euler on the variance-preserving path is DDIM in other coordinates."""
    pipe = frdiff.load_model("digits")
    set_scheduler(pipe, "ddim")
    one = sample(pipe, ["", ""], steps=50)
    set_scheduler(pipe, "euler")
    other = sample(pipe, ["", ""], steps=50)
    assert min(psnr(one, other)) > 25


def test_sampling_refuses_unknown_things():
    pipe = make_dit_pipe()
    with pytest.raises(ValueError, match="takes class numbers, got 'apple'"):
        sample(pipe, ["apple"], steps=2)
    with pytest.raises(ValueError, match="at least one prompt"):
        sample(pipe, [], steps=2)
    with pytest.raises(ValueError, match="no scheduler 'magic'; choose one of ddim"):
        set_scheduler(pipe, "magic")


def test_schedulers_keep_the_models_settings():
    pipe = make_dit_pipe()
    for name in ("dpm++", "dpm++sde", "unipc"):
        assert set_scheduler(pipe, name).config.beta_schedule == "scaled_linear"
    assert torch.equal(pipe.scheduler.betas, make_dit_pipe().scheduler.betas)


def test_flow_matching_keeps_its_scheduler():
    pipe = make_dit_pipe()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="flow matching with FlowMatchEulerDiscreteScheduler"):
        set_scheduler(pipe, "ddim")


def test_ddim_does_not_clip_latents_unless_told():
    pipe = make_dit_pipe()
    pipe.scheduler = DPMSolverMultistepScheduler()
    assert set_scheduler(pipe, "ddim").config.clip_sample is False


def test_grid_takes_grey_pictures_and_prompts_of_several_lines():
    grey = np.full((2, 16, 16, 1), 0.5)
    sheet = draw_grid([("", grey)], ["two\nlines", ""])
    assert sheet.getpixel((sheet.width - 5, sheet.height - 5)) == (128, 128, 128)
    assert picture(grey[0]).mode == "L"
    with pytest.raises(
        ValueError, match=r"a picture is \(H, W, 1\) or \(H, W, 3\), got \(4, 4, 2\)"
    ):
        picture(np.zeros((4, 4, 2)))


def test_videos_are_measured_whole_and_shown_by_their_middle_frame():
    video = np.zeros((1, 3, 16, 16, 3), np.float32)
    other = video.copy()
    other[:, 1] = 0.3
    # The mean square of a third of the values being 0.09 is 0.03.
    assert psnr(video, other) == pytest.approx([10 * np.log10(1 / 0.03)], abs=1e-4)
    assert ssim(video, video) == pytest.approx([1.0])
    sheet = draw_grid([("", other)], ["a"])
    assert sheet.getpixel((sheet.width - 5, sheet.height - 5)) == (76, 76, 76)


def test_grid_keeps_the_shape_of_pictures():
    tall = np.zeros((1, 64, 16, 3), np.float32)
    sheet = draw_grid([("", tall)], ["a"])
    assert sheet.getpixel((sheet.width - 2, 60)) == (255, 255, 255)
    assert sheet.getpixel((sheet.width - 64, 60)) == (0, 0, 0)


def test_cost_of_second_order_solvers_counts_evaluations():
    pipe = make_dit_pipe()
    set_scheduler(pipe, "heun")
    outcomes = compare(pipe, [Contender("full", 12), Contender("fewer", 4)], ["1"], repeats=1)
    assert outcomes[1].macs_ratio == pytest.approx(7 / 23)
