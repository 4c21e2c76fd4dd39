"""The life of a run: what a user does with pipelines, in every order."""

import inspect
import warnings
from dataclasses import replace

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import nn

import frdiff
from conftest import SCHEDULER, call, ddim, loop, make_dit_pipe, make_pipe, make_unet
from frdiff import sampling

POLICY = frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="residual")
MIXED = frdiff.UniformPolicy(2, bias=0.5)
SMALL = replace(POLICY, storage=frdiff.Storage("int8", "int8", 0.25))
POLICIES = pytest.mark.parametrize(
    "policy", [POLICY, MIXED, SMALL], ids=["forecast", "paper", "small"]
)


def fresh(policy=POLICY, scheduler=None, **options):
    """What a newly made pipeline draws with a newly applied policy."""
    pipe = make_pipe(scheduler=scheduler)
    with frdiff.apply(pipe, policy):
        return call(pipe, **options)


def test_the_four_lines(pipe):
    with frdiff.apply(pipe, frdiff.UniformPolicy(interval=2, bias=0.5)) as run:
        latents = call(pipe, steps=50)
    assert latents.shape == (1, 4, 8, 8)
    assert str(run.stats).startswith("50 steps: 25 keyframes, 14 reuse, 11 jumps;")


@POLICIES
@pytest.mark.parametrize(
    "other",
    [{}, {"steps": 14}, {"batch": 3}, {"size": 32}, {"prompt": 5}, {"guidance_scale": 1.0}],
    ids=["same", "steps", "batch", "resolution", "prompt", "no-guidance"],
)
def test_calls_do_not_leak_into_one_another(policy, other, pipe):
    with frdiff.apply(pipe, policy):
        first = call(pipe)
        assert torch.equal(call(pipe, **other), fresh(policy, **other))
        assert torch.equal(call(pipe), first)
    assert torch.equal(call(pipe), call(make_pipe()))


@POLICIES
@pytest.mark.parametrize("step", [0, 1, 4, 5])
def test_an_aborted_call_does_not_leak_into_the_next(policy, step, pipe):
    def abort(pipe, index, timestep, values):
        if index == step:
            raise KeyboardInterrupt
        return values

    with frdiff.apply(pipe, policy):
        with pytest.raises(KeyboardInterrupt):
            call(pipe, batch=2, callback_on_step_end=abort)
        assert torch.equal(call(pipe), fresh(policy))


@POLICIES
def test_swapped_scheduler(policy, pipe):
    with frdiff.apply(pipe, policy) as run:
        call(pipe)
        old = pipe.scheduler
        pipe.scheduler = EulerDiscreteScheduler(**SCHEDULER)
        swapped = call(pipe)
        assert run.stats.keyframes == len(run.plan.keyframes)
        assert "step" not in old.__dict__
    assert torch.equal(swapped, fresh(policy, scheduler=EulerDiscreteScheduler(**SCHEDULER)))
    assert "step" not in pipe.scheduler.__dict__


@pytest.mark.parametrize("strength", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["ddim", "dpm++"])
def test_img2img_on_the_same_parts(strength, kind):
    def scheduler():
        return ddim() if kind == "ddim" else DPMSolverMultistepScheduler(**SCHEDULER)

    pipe = make_pipe(scheduler=scheduler())
    other = make_pipe(StableDiffusionImg2ImgPipeline, unet=pipe.unet, scheduler=pipe.scheduler)
    alone = make_pipe(StableDiffusionImg2ImgPipeline, scheduler=scheduler())
    with frdiff.apply(alone, POLICY):
        expected = call(alone, steps=24, strength=strength)
    with frdiff.apply(pipe, POLICY) as run:
        call(pipe)
        latents = call(other, steps=24, strength=strength)
        assert run.stats.steps == int(24 * strength)
        assert run.stats.keyframes == -(-int(24 * strength) // 3)
        call(pipe)
    assert torch.equal(latents, expected)


def test_custom_timesteps(pipe):
    pipe.scheduler = DDPMScheduler(**SCHEDULER)
    timesteps = list(range(990, 0, -90))
    with frdiff.apply(pipe, POLICY) as run:
        call(pipe, steps=None, timesteps=timesteps)
    assert run.stats.steps == len(timesteps) == 11
    assert run.stats.keyframes == 4


def test_guidance_as_two_calls_is_isolated():
    """Two calls a step on one patched model equal two models that are patched each."""
    two, scheduler = make_unet(), ddim()
    with frdiff.apply(two, POLICY, scheduler=scheduler) as run:
        mixed = loop(two, scheduler, two_calls=True)
        assert run.stats.keyframes == 4
        one_call = make_unet(), ddim()
        with frdiff.apply(one_call[0], POLICY, scheduler=one_call[1]):
            batched = loop(*one_call)
    torch.testing.assert_close(mixed, batched, rtol=1e-4, atol=1e-5)


def test_batch_of_four_equals_four_singles(pipe):
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with frdiff.apply(pipe, POLICY):
        together = call(pipe, batch=4, latents=noise, prompt=0)
        embeds = torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(100))
        for i in range(4):
            alone = pipe(
                prompt_embeds=embeds[i : i + 1],
                negative_prompt_embeds=torch.zeros(1, 5, 16),
                latents=noise[i : i + 1],
                num_inference_steps=12,
                guidance_scale=3.0,
                output_type="latent",
            ).images
            torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-3, atol=1e-4)


def test_guidance_switched_off_in_the_middle_computes_once_more(pipe):
    def switch_off(pipe, index, timestep, values):
        if index == 3:
            pipe._guidance_scale = 0.0
            values["prompt_embeds"] = values["prompt_embeds"].chunk(2)[-1]
        return values

    with frdiff.apply(pipe, frdiff.UniformPolicy(6, mixing=False, targets="residual")) as run:
        call(
            pipe,
            callback_on_step_end=switch_off,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        )
    assert (run.stats.keyframes, run.stats.reuse_steps) == (3, 9)


def test_two_pipelines_of_one_class_do_not_meet():
    one, other = make_pipe(), make_pipe(unet=make_unet(seed=1))
    plain = call(other)
    first, second = frdiff.apply(one, POLICY), frdiff.apply(other, MIXED)
    call(one)
    first.remove()
    assert second.stats.steps == 0
    call(other)
    assert second.stats.jumps > 0
    second.remove()
    assert torch.equal(call(other), plain)


def test_dit_pipeline():
    pipe = make_dit_pipe()
    arguments = {"class_labels": [1, 2], "num_inference_steps": 12, "output_type": "np"}

    def draw():
        return torch.from_numpy(pipe(generator=torch.manual_seed(0), **arguments).images)

    plain = draw()
    with frdiff.apply(pipe, POLICY) as run:
        assert torch.equal(draw(), draw())
        assert run.stats.keyframes == 4
    assert torch.equal(draw(), plain)


def test_bank_is_empty_after_the_run_and_within_its_peak(pipe):
    with frdiff.apply(pipe, POLICY) as run:
        call(pipe)
        stats = run.stats
        one_keyframe = sum(cost.feature_bytes for cost, _ in run.call_costs)
    assert stats.bank_bytes == 0
    assert stats.bank_bytes_peak == 2 * one_keyframe


def test_applying_twice_says_how_to_remove(pipe):
    run = frdiff.apply(pipe, POLICY)
    for again in (
        lambda: frdiff.apply(pipe, POLICY),
        lambda: frdiff.apply(make_pipe(unet=pipe.unet), POLICY),
    ):
        with pytest.raises(ValueError, match=r"already applied.*run.remove\(\)"):
            again()
    call(pipe)
    assert run.stats.steps == 12
    run.remove()
    frdiff.apply(pipe, POLICY).remove()


@pytest.mark.parametrize("steps", [8, 12])
def test_policy_for_another_step_count(steps, pipe):
    policy = frdiff.KeyframePolicy(10, [0, 5], targets="residual")
    with frdiff.apply(pipe, policy) as run:
        with pytest.raises(ValueError, match=rf"made for 10 steps.*resample\({steps}\)"):
            call(pipe, steps=steps)
        call(pipe, steps=10)
        assert run.stats.keyframes == 2


class Empty(DiffusionPipeline):
    def __init__(self, vae):
        super().__init__()
        self.register_modules(vae=vae)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: (make_pipe(), 2), TypeError, "policy must be a frdiff policy, got int"),
        (lambda: (make_pipe(), "p.json"), TypeError, "got str; frdiff.load_policy reads a file"),
        (lambda: ("emoji", POLICY), TypeError, "pipeline or a denoiser, got str"),
        (lambda: (make_unet(), POLICY), ValueError, "needs the scheduler"),
        (lambda: (Empty(make_pipe().vae), POLICY), ValueError, "Empty has no denoiser.*only vae"),
        (lambda: (nn.Linear(2, 2), POLICY, ddim()), ValueError, "Linear has no targets"),
        (lambda: (make_pipe(), POLICY, ddim()), ValueError, "set pipe.scheduler instead"),
        (
            lambda: (make_pipe(), frdiff.UniformPolicy(2, targets=["*.attn9"])),
            ValueError,
            "matches no module",
        ),
    ],
)
def test_wrong_targets_are_refused_before_anything_is_patched(make, error, text):
    target, policy, *scheduler = make()
    with pytest.raises(error, match=text):
        frdiff.apply(target, policy, scheduler=scheduler[0] if scheduler else None)
    unet = getattr(target, "unet", None)
    assert unet is None or not any("forward" in module.__dict__ for module in unet.modules())


@pytest.mark.parametrize("steps", [10, 20])
def test_another_scheduler_than_the_patched_one_is_noticed_in_the_end(steps):
    unet = make_unet()
    run = frdiff.apply(unet, POLICY, scheduler=ddim())
    assert torch.equal(loop(unet, ddim(), steps=steps), loop(make_unet(), ddim(), steps=steps))
    assert run.stats.bank_bytes == 0
    with pytest.warns(UserWarning, match="never stepped, so nothing was reused"):
        run.remove()


def test_warnings_where_little_is_gained(pipe):
    with frdiff.apply(pipe, POLICY), pytest.warns(UserWarning, match="8 steps.*little to reuse"):
        call(pipe, steps=8)
    with (
        frdiff.apply(pipe, frdiff.KeyframePolicy(25, range(24))),
        pytest.warns(UserWarning, match="computes 96% of its steps"),
    ):
        call(pipe, steps=25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with frdiff.apply(pipe, POLICY):
            call(pipe, steps=10)


def test_public_functions_have_docstrings():
    for name in frdiff.__all__:
        assert inspect.getdoc(getattr(frdiff, name)), name


SCHEDULERS = [name for name in sampling.SCHEDULERS if name != "lms"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_has_its_keyframes_where_the_policy_says(name, pipe):
    """Heun repeats timesteps, PNDM too; the step index counts evaluations all the same."""
    sampling.set_scheduler(pipe, name)
    computed = []
    inner = pipe.unet.mid_block.resnets[0].norm1
    inner.register_forward_hook(lambda *_: computed.append(index[0]))
    index = [0]

    def count(module, args, output):
        index[0] += 1

    pipe.unet.conv_in.register_forward_hook(count)
    with frdiff.apply(pipe, POLICY) as run:
        latents = call(pipe, steps=10)
        assert run.stats.steps == index[0] == len(pipe.scheduler.timesteps)
        assert computed == [i + 1 for i in range(index[0]) if i % 3 == 0]
        assert torch.isfinite(latents).all()
        assert torch.equal(call(pipe, steps=10), latents)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++", "euler"])
@pytest.mark.parametrize("forecast", [1, 2])
def test_forecasts_in_the_noise_level(name, forecast, pipe):
    sampling.set_scheduler(pipe, name)
    policy = replace(POLICY, forecast=forecast, coordinate="noise")
    with frdiff.apply(pipe, policy):
        latents = call(pipe, steps=10)
        assert torch.isfinite(latents).all()
        assert torch.equal(call(pipe, steps=10), latents)


def test_wan_has_two_denoisers_and_guidance_in_two_calls():
    torch.manual_seed(0)
    options = {
        "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12,
        "in_channels": 16, "out_channels": 16, "text_dim": 32, "freq_dim": 16, "ffn_dim": 32,
        "num_layers": 2, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 32,
    }  # fmt: skip
    parts = [WanTransformer3DModel(**options).eval() for _ in range(2)]
    vae = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        transformer=parts[0],
        transformer_2=parts[1],
        boundary_ratio=0.5,
    )
    pipe.set_progress_bar_config(disable=True)

    def draw():
        generator = torch.Generator().manual_seed(0)
        return pipe(
            prompt_embeds=torch.ones(1, 4, 32), negative_prompt_embeds=torch.zeros(1, 4, 32),
            height=16, width=16, num_frames=5, num_inference_steps=12, guidance_scale=3.0,
            generator=generator, output_type="latent",
        ).frames  # fmt: skip

    plain = draw()
    policy = replace(POLICY, targets=["blocks.*.attn1", "blocks.*.attn2", "blocks.*.ffn"])
    with frdiff.apply(pipe, policy) as run:
        assert len(run.targets) == 12
        reused = draw()
        assert torch.equal(draw(), reused)
        # Four by the policy; where the second denoiser takes over, it has nothing stored yet.
        assert run.stats.keyframes in (4, 5)
    assert not torch.equal(reused, plain)
    assert torch.equal(draw(), plain)
