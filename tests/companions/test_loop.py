"""What changes within a run: guidance, latents, prompts; and runs that end early or begin late."""

import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)

import frdiff
from companion import ALL, JUMPS, REUSE, STEPS, distance, generator, keeps_contract, tensor
from conftest import EMBED, ddim, make_vae
from pipelines_zoo import drawn, embeds, made, picture, pooled, sdxl_unet, zoo

pytestmark = pytest.mark.filterwarnings("ignore:the plan computes:UserWarning")


def drawer(name, callback, tensors=("latents",), **inputs):
    """A pipeline of the zoo, and what draws with it and a callback at the end of every step."""
    tiny = zoo()[name]()

    def draw():
        result = tiny.pipe(
            **tiny.inputs | inputs,
            generator=generator(),
            num_inference_steps=STEPS,
            output_type="latent",
            callback_on_step_end=callback,
            callback_on_step_end_tensor_inputs=list(tensors),
        )
        return tensor(result)

    return tiny.pipe, draw


def without_guidance_after(step):
    """Guidance off for the rest of the run: half the batch, as diffusers' guide has it."""

    def callback(pipe, index, timestep, given):
        if index == step:
            pipe._guidance_scale = 0.0
            given["prompt_embeds"] = given["prompt_embeds"].chunk(2)[-1]
        return given

    return callback


@pytest.mark.parametrize("step", [4, 5, 10])
def test_guidance_that_ends(step):
    callback = without_guidance_after(step)
    pipe, draw = drawer("stable-diffusion", callback, ["latents", "prompt_embeds"])
    plain = draw()
    with frdiff.apply(pipe, ALL):
        assert torch.equal(draw(), plain)
    for policy in (REUSE, JUMPS):
        with frdiff.apply(pipe, policy) as run:
            first, stats = draw(), run.stats
            assert torch.equal(draw(), first)
        assert 0 < distance(first, plain) < 0.25
        # Nothing that was stored fits the half batch: its first step computes.
        planned = policy.plan(STEPS).keyframes
        assert stats.keyframes == len({*planned, step + 1})
        assert stats.steps == STEPS and stats.macs_ratio < 1 and stats.bank_bytes == 0
    assert torch.equal(draw(), plain)


def test_guidance_that_changes_its_scale():
    def callback(pipe, index, timestep, given):
        pipe._guidance_scale = 2.0 + index / 2
        return given

    keeps_contract(*drawer("stable-diffusion", callback))


@pytest.mark.parametrize("name", ["stable-diffusion", "stable-diffusion-3", "wan"])
def test_latents_that_are_edited(name):
    def callback(pipe, index, timestep, given):
        return {"latents": given["latents"] * (0.97 if index == 5 else 1)}

    pipe, draw = drawer(name, callback)
    _, untouched = drawer(name, lambda pipe, index, timestep, given: given)
    assert distance(draw(), untouched()) > 1e-3
    keeps_contract(pipe, draw)


def test_prompts_that_are_swapped_within_a_run():
    other = drawn(2, 5, EMBED, seed=7)

    def callback(pipe, index, timestep, given):
        return {"prompt_embeds": other} if index == 5 else given

    keeps_contract(*drawer("stable-diffusion", callback, ["latents", "prompt_embeds"]))


@pytest.mark.parametrize("name", ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3"])
def test_a_run_that_is_interrupted(name):
    """The steps made are counted, and nothing of them is left for the next run."""
    stop = [True]

    def callback(pipe, index, timestep, given):
        pipe._interrupt = stop[0] and index == 5
        return given

    pipe, draw = drawer(name, callback)
    early = draw()
    stop[0] = False
    plain = draw()
    for policy in (ALL, REUSE, JUMPS):
        with frdiff.apply(pipe, policy) as run:
            whole = draw()
            stop[0] = True
            part = draw()
            assert run.stats.steps == 6
            stop[0] = False
            assert torch.equal(draw(), whole)
            assert run.stats.steps == STEPS and run.stats.bank_bytes == 0
        if policy is ALL:
            assert torch.equal(part, early) and torch.equal(whole, plain)
        assert distance(part, early) < 0.25
    assert torch.equal(draw(), plain)


def test_prompts_from_call_to_call():
    """Nothing of one prompt, or of one batch, is in the next picture."""
    tiny = zoo()["stable-diffusion"]()

    def draw(seed, batch=1):
        texts = embeds(5, EMBED)
        texts["prompt_embeds"] = drawn(1, 5, EMBED, seed=seed).repeat(batch, 1, 1)
        texts["negative_prompt_embeds"] = texts["negative_prompt_embeds"].repeat(batch, 1, 1)
        options = {"num_inference_steps": STEPS, "output_type": "latent", "height": 16, "width": 16}
        return tensor(tiny.pipe(generator=generator(), **texts, **options))

    for policy in (REUSE, JUMPS):
        alone = []
        for case in ((1, 1), (2, 1), (1, 3)):
            with frdiff.apply(tiny.pipe, policy):
                alone.append(draw(*case))
        with frdiff.apply(tiny.pipe, policy):
            assert all(
                torch.equal(draw(*case), expected)
                for case, expected in zip(((1, 1), (2, 1), (1, 3)), alone, strict=True)
            )
        assert distance(alone[0], alone[1]) > 1e-3


def test_a_timestep_for_every_token():
    """Wan 2.2 gives the denoiser one timestep per token; LTX keeps the first frame at none."""
    tiny = zoo()["wan"]()
    tiny.pipe.register_to_config(expand_timesteps=True)

    def draw():
        options = {"num_inference_steps": STEPS, "output_type": "latent"}
        return tensor(tiny.pipe(generator=generator(), **options, **tiny.inputs))

    keeps_contract(tiny.pipe, draw)


def test_a_first_frame_that_is_given():
    tiny = zoo()["ltx"]()
    pipe = LTXImageToVideoPipeline(**tiny.pipe.components)
    pipe.set_progress_bar_config(disable=True)

    def draw(seed=0):
        options = {"num_inference_steps": STEPS, "output_type": "latent"}
        image = picture(32) if seed == 0 else 1 - picture(32)
        return tensor(pipe(image=image, generator=generator(), **options, **tiny.inputs))

    keeps_contract(pipe, draw)


@pytest.mark.parametrize("how", ["interrupt", "denoising_end"])
def test_a_run_that_ends_early_gives_its_memory_back(how):
    def callback(pipe, index, timestep, given):
        pipe._interrupt = how == "interrupt" and index == 5
        return given

    inputs = {} if how == "interrupt" else {"denoising_end": 0.5}
    pipe, draw = drawer("stable-diffusion-xl", callback, **inputs)
    with frdiff.apply(pipe, REUSE) as run:
        draw()
        assert run.stats.bank_bytes == 0 < run.stats.bank_bytes_peak


@pytest.mark.filterwarnings("ignore:a run of:UserWarning")
@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler, UniPCMultistepScheduler])
def test_a_base_and_its_refiner(scheduler):
    """Each network has its share of the steps, and a policy of its own."""
    vae, config = make_vae(), ddim().config
    torch.manual_seed(0)
    base, refiner = (
        made(kind, unet=sdxl_unet(), vae=vae, scheduler=scheduler.from_config(config))
        for kind in (StableDiffusionXLPipeline, StableDiffusionXLImg2ImgPipeline)
    )
    refiner.unet.load_state_dict({k: 0.9 * v for k, v in base.unet.state_dict().items()})
    inputs = embeds(5, EMBED, **pooled(16), num_inference_steps=STEPS, output_type="latent")
    steps = [0, 0]

    def counting(which):
        def callback(pipe, index, timestep, given):
            steps[which] = index + 1
            return given

        return {"callback_on_step_end": callback, "generator": generator()}

    def draw():
        size = {"height": 16, "width": 16}
        latents = base(**inputs, **counting(0), **size, denoising_end=0.5).images
        return tensor(refiner(**inputs, **counting(1), image=latents, denoising_start=0.5))

    plain = draw()
    assert sum(steps) == STEPS and min(steps) >= 4
    for policy in (ALL, REUSE, JUMPS):
        with frdiff.apply(base, policy) as first, frdiff.apply(refiner, policy) as second:
            drawn_once, stats = draw(), (first.stats, second.stats)
            assert torch.equal(draw(), drawn_once)
        assert [one.steps for one in stats] == steps
        if policy is ALL:
            assert torch.equal(drawn_once, plain)
        else:
            assert 0 < distance(drawn_once, plain) < 0.25
            assert all(one.macs_ratio < 1 for one in stats)
    assert torch.equal(draw(), plain)
