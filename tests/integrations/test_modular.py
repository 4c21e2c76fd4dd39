"""Modular pipelines of diffusers, with the same parts, noise and policy as the ordinary ones."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from diffusers.modular_pipelines.flux.modular_blocks_flux import FluxCoreDenoiseStep
from diffusers.modular_pipelines.stable_diffusion_3.modular_blocks_stable_diffusion_3 import (
    StableDiffusion3T2ICoreDenoiseStep,
)
from diffusers.modular_pipelines.stable_diffusion_xl.modular_blocks_stable_diffusion_xl import (
    StableDiffusionXLAutoBlocks,
    StableDiffusionXLCoreDenoiseStep,
)
from diffusers.modular_pipelines.wan.modular_blocks_wan import WanCoreDenoiseStep

import frdiff
from frdiff.modular import Reusing
from frdiff.run.patch import patch_of
from pipelines_zoo import zoo

POLICY = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="all")
STEPS = 12


@dataclass(frozen=True)
class Case:
    """A modular pipeline beside an ordinary one of the zoo.

    Attributes:
        core: the block that draws latents from prompt embeddings.
        inputs: where the modular one, which has no VAE to tell the scale, needs others.
        guided: inputs of the ordinary one that the modular one takes from its guider.
        room: for rounding, where the ordinary one computes both halves of guidance in one call.
    """

    name: str
    core: type
    inputs: dict[str, Any] = field(default_factory=dict)
    guided: dict[str, float] = field(default_factory=dict)
    room: float = 0.0


CASES = [
    Case(
        "stable-diffusion-xl", StableDiffusionXLCoreDenoiseStep, {}, {"guidance_scale": 7.5}, 1e-3
    ),
    Case(
        "stable-diffusion-3",
        StableDiffusion3T2ICoreDenoiseStep,
        {"height": 64, "width": 64},
        {"guidance_scale": 7.0},
        1e-4,
    ),
    Case("flux", FluxCoreDenoiseStep, {"height": 64, "width": 64}),
    Case("wan", WanCoreDenoiseStep, {}, {"guidance_scale": 5.0}),
]


def modular(case, tiny, wrap=Reusing):
    """The modular pipeline with the parts of an ordinary one, and latents for a result."""
    core = case.core()
    core.sub_blocks.pop("unpack_latents", None)
    return with_parts(wrap(core).init_pipeline(), tiny.pipe)


def with_parts(pipe, ordinary):
    parts = {name: part for name, part in ordinary.components.items() if part is not None}
    pipe.update_components(**{name: parts[name] for name in parts.keys() & pipe.components.keys()})
    return pipe


def noise():
    return torch.Generator().manual_seed(0)


def drawn(case, tiny, pipe=None, **more):
    """Latents of the modular pipeline, or of the ordinary one."""
    inputs = tiny.inputs | {"num_inference_steps": STEPS, "generator": noise()} | more
    if pipe is not None:
        return pipe(**(inputs | case.inputs), output="latents")
    output = tiny.pipe(**inputs, **case.guided, output_type="latent")
    return getattr(output, "images", getattr(output, "frames", None))


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def test_a_modular_pipeline_draws_what_the_ordinary_one_does_with_the_same_policy(case):
    tiny = zoo()[case.name]()
    pipe = modular(case, tiny)
    full = drawn(case, tiny, pipe)
    with frdiff.apply(tiny.pipe, POLICY) as run:
        expected = drawn(case, tiny)
    assert run.stats.reuse_steps == 8
    found = drawn(case, tiny, pipe, policy=POLICY)
    assert (found.reshape(expected.shape) - expected).abs().max() <= case.room
    assert (found - full).abs().max() > 4 * case.room  # it did reuse
    assert torch.equal(drawn(case, tiny, pipe), full)  # and without a policy it does not


def test_the_loop_alone_can_be_wrapped(case):
    def loop_alone(core):
        core.sub_blocks["denoise"] = Reusing(core.sub_blocks["denoise"])
        return core

    tiny = zoo()[case.name]()
    whole = drawn(case, tiny, modular(case, tiny), policy=POLICY)
    assert torch.equal(drawn(case, tiny, modular(case, tiny, loop_alone), policy=POLICY), whole)


def test_apply_takes_a_modular_pipeline_and_knows_the_scale_of_its_guider(case):
    tiny = zoo()[case.name]()
    pipe = modular(case, tiny)
    expected = drawn(case, tiny, pipe, policy=POLICY)
    with frdiff.apply(pipe, POLICY) as run:
        assert torch.equal(drawn(case, tiny, pipe), expected)
    assert run.conditions.scales == case.guided
    assert (run.stats.keyframes, run.stats.reuse_steps) == (4, 8)


class Failing(frdiff.UniformPolicy):
    """A policy that fails in the middle of the loop."""

    def revised(self, plan, index):
        if index == 6:
            raise ArithmeticError("in the loop")
        return super().revised(plan, index)


def test_a_loop_that_fails_leaves_nothing_on_the_pipeline(case):
    tiny = zoo()[case.name]()
    pipe = modular(case, tiny)
    expected = drawn(case, tiny, pipe)
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    with pytest.raises(ArithmeticError, match="in the loop"):
        drawn(case, tiny, pipe, policy=Failing(3))
    assert patch_of(denoiser) is None
    assert "forward" not in vars(denoiser) and "step" not in vars(pipe.scheduler)
    assert torch.equal(drawn(case, tiny, pipe), expected)


def sdxl():
    case = CASES[0]
    return case, zoo()[case.name]()


def test_a_policy_may_be_a_file_and_a_bad_one_is_told(tmp_path):
    case, tiny = sdxl()
    pipe = modular(case, tiny)
    POLICY.save(tmp_path / "policy.json")
    expected = drawn(case, tiny, pipe, policy=POLICY)
    assert torch.equal(drawn(case, tiny, pipe, policy=str(tmp_path / "policy.json")), expected)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        drawn(case, tiny, pipe, policy="nowhere.json")
    with pytest.raises(ValueError, match="tuned on"):
        drawn(case, tiny, pipe, policy="digits/dpm++-25-speedup-2")
    (tmp_path / "bad.json").write_text('{"kind": "os.system"}')
    with pytest.raises(ValueError, match=r"bad\.json"):
        drawn(case, tiny, pipe, policy=tmp_path / "bad.json")


def test_a_sequence_pruned_to_a_workflow_keeps_the_policy():
    case, tiny = sdxl()
    expected = drawn(case, tiny, modular(case, tiny), policy=POLICY)
    blocks = StableDiffusionXLAutoBlocks()
    blocks.sub_blocks["denoise"] = Reusing(blocks.sub_blocks["denoise"])
    for sequence in (blocks, Reusing(StableDiffusionXLAutoBlocks)):
        pruned = sequence.get_workflow("text2image")
        inner = getattr(pruned, "block", pruned)
        for unwanted in ("text_encoder", "decode"):
            for name in [one for one in inner.sub_blocks if one.startswith(unwanted)]:
                inner.sub_blocks.pop(name)
        pipe = with_parts(pruned.init_pipeline(), tiny.pipe)
        assert "policy" in [one.name for one in pipe.blocks.inputs]
        assert torch.equal(drawn(case, tiny, pipe, policy=POLICY), expected)


def test_a_shipped_policy_brings_its_solver_and_the_own_one_comes_back():
    """`emoji-flow` is a real Stable Diffusion 3, so that its parts make a modular one."""
    ordinary = frdiff.load_model("emoji-flow")
    policy = frdiff.load_policy("emoji-flow/flow-euler-28-speedup-2")
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds")
    names += ("negative_pooled_prompt_embeds",)
    embeds = ordinary.encode_prompt("red apple", None, None, do_classifier_free_guidance=True)
    inputs = dict(zip(names, embeds, strict=True))
    size = ordinary.transformer.config.sample_size * 8
    inputs |= {"height": size, "width": size, "output": "latents"}
    inputs["num_inference_steps"] = policy.origin.num_inference_steps
    core = StableDiffusion3T2ICoreDenoiseStep()
    pipe = with_parts(Reusing(core).init_pipeline(), ordinary)
    pipe.guider.guidance_scale = 4.0
    own = pipe.scheduler
    # The ordinary pipeline computes both halves of guidance in one call, where they can be weighed.
    with pytest.warns(UserWarning, match="both halves of guidance in one call"):
        found = pipe(**inputs, policy="emoji-flow/flow-euler-28-speedup-2", generator=noise())
    assert found.shape[1:] == (ordinary.transformer.config.in_channels, *(size // 8,) * 2)
    assert pipe.scheduler is own and patch_of(pipe.transformer) is None
    core.sub_blocks["denoise"] = Reusing(core.sub_blocks["denoise"])
    alone = with_parts(core.init_pipeline(), ordinary)
    with pytest.raises(ValueError, match="wrap the blocks that set them too"):
        alone(**inputs, policy="emoji-flow/flow-euler-28-speedup-2", generator=noise())
    assert alone.scheduler is own


def test_a_pipeline_in_place_of_its_blocks_is_refused():
    case, tiny = sdxl()
    with pytest.raises(TypeError, match=r"take pipe\.blocks"):
        Reusing(modular(case, tiny))


@pytest.mark.slow
def test_a_policy_can_be_tuned_on_a_modular_pipeline():
    """It is a loop of one's own: whatever calls its guider makes are those that are searched."""
    case, tiny = sdxl()
    pipe = modular(case, tiny)

    def draw(generator, steps):
        return drawn(case, tiny, pipe, generator=generator, num_inference_steps=steps)

    policy = frdiff.tune(
        draw, denoiser=pipe.unet, scheduler=pipe.scheduler, num_steps=12, speedup=2
    )
    steps = policy.origin.num_inference_steps
    assert drawn(case, tiny, pipe, policy=policy, num_inference_steps=steps).isfinite().all()
