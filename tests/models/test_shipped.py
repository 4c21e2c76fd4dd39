"""The shipped models: what is promised of them."""

import os
import pickle

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

import frdiff
from frdiff.compare import psnr
from frdiff.cost import first_call_cost
from frdiff.evaluation.embedder import load_embedder
from frdiff.evaluation.metrics import frechet_distance
from frdiff.models import (
    GUIDANCE,
    INPUTS,
    open_pipeline,
    shipped_captions,
    shipped_models,
)
from frdiff.models.shipped import HERE
from frdiff.sampling import sample, set_scheduler

EMOJI = HERE / "emoji"


@pytest.fixture(scope="module")
def emoji():
    return frdiff.load_model("emoji")


def test_is_small_safe_and_attributed():
    files = [path for path in EMOJI.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40 * 10**6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt", ".md"}
    assert "CC-BY 4.0" in (EMOJI / "ATTRIBUTION.md").read_text()


def test_loads_offline_as_a_stable_diffusion_pipeline(emoji, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert type(emoji) is StableDiffusionPipeline
    plain = StableDiffusionPipeline.from_pretrained(EMOJI, local_files_only=True)
    for one, other in zip(emoji.unet.parameters(), plain.unet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_is_shaped_like_the_real_ones(emoji):
    cost = first_call_cost(emoji, frdiff.UniformPolicy(2, targets="residual"))
    (cost,) = cost.values()
    transformers = sum(target.macs for target in cost.targets if "attentions" in target.name)
    assert cost.reuse_ratio <= 0.30
    assert transformers >= 0.5 * cost.macs


def test_knows_its_captions_word_by_word(emoji):
    captions = shipped_captions("emoji")
    assert len(set(captions)) == len(captions) >= 256
    assert "red apple" in captions
    for caption in captions:
        assert len(emoji.tokenizer(caption).input_ids) == len(caption.split()) + 2


def test_draws_what_is_asked_for(emoji):
    """A red heart is red, a green one green, on white."""
    images = emoji(
        ["red heart", "green heart"],
        num_inference_steps=12,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    red, green = images[:, 24:40, 24:40].mean(axis=(1, 2))
    assert red[0] > red[1] + 0.3
    assert green[1] > green[0] + 0.1
    assert images[:, :4, :4].mean() > 0.9


def test_all_models_together_are_small_and_safe():
    files = [path for name in shipped_models() for path in (HERE / name).rglob("*")]
    files = [path for path in files if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 80 * 10**6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    for name in ("emoji-dit", "emoji-flow"):
        assert "CC-BY 4.0" in (HERE / name / "ATTRIBUTION.md").read_text()


def test_the_transformer_is_shaped_like_the_real_ones():
    pipe = frdiff.load_model("emoji-dit")
    (cost,) = first_call_cost(pipe, frdiff.UniformPolicy(2, targets="residual")).values()
    assert cost.reuse_ratio <= 0.15


@pytest.fixture(scope="module")
def flow():
    return frdiff.load_model("emoji-flow")


def test_the_flow_model_is_a_stable_diffusion_3_without_t5(flow):
    assert type(flow) is StableDiffusion3Pipeline
    assert flow.text_encoder_3 is None and flow.tokenizer_3 is None
    assert flow.scheduler.config.shift == 3.0
    assert shipped_captions("emoji-flow") == shipped_captions("emoji")
    files = [path for path in (HERE / "emoji-flow").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30 * 10**6


def test_the_flow_model_draws_by_its_own_call_what_is_asked_for(flow):
    """A red heart is red, a green one green, on white; twice the same."""

    def draw():
        return flow(
            ["red heart", "green heart"],
            num_inference_steps=9,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images

    images = draw()
    red, green = images[:, 24:40, 24:40].mean(axis=(1, 2))
    assert red[0] > red[1] + 0.3
    assert green[1] > green[0] + 0.1
    assert images[:, :4, :4].mean() > 0.9
    assert (draw() == images).all()


def test_zeros_for_t5_do_not_show(flow):
    few, many = (
        sample(flow, ["penguin"], steps=9, guidance=4.0, inputs={"max_sequence_length": number})
        for number in (16, 256)
    )
    assert psnr(few, many)[0] > 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["emoji", "emoji-dit", "emoji-flow"])
def test_pictures_show_what_was_asked_for(name):
    pipe = frdiff.load_model(name)
    embedder = load_embedder(name)
    prompts = shipped_captions(name)[::8][:16]
    images = sample(pipe, prompts, steps=12, guidance=GUIDANCE[name], inputs=INPUTS.get(name, {}))
    assert embedder.accuracy(embedder.features(images), prompts) >= 0.85


@pytest.mark.slow
def test_digits_look_like_digits():
    """Nearer to digits, in features, than digits upside down are."""
    pipe, embedder = frdiff.load_model("digits"), load_embedder("digits")
    set_scheduler(pipe, "dpm++")
    images = sample(pipe, ["any digit"] * 128, steps=12)
    known = embedder.training_features
    drawn = frechet_distance(known, embedder.features(images))
    turned = frechet_distance(known, embedder.features(images[:, ::-1].copy()))
    assert drawn < 0.5 * turned


def test_unknown_names_are_refused(tmp_path):
    assert "emoji" in shipped_models()
    with pytest.raises(ValueError, match="'sd'; there is: digits, emoji, emoji-dit, emoji-flow"):
        frdiff.load_model("sd")
    with pytest.raises(ValueError, match="not a diffusers pipeline folder"):
        open_pipeline(str(tmp_path))


class Exploit:
    def __reduce__(self):
        return (os.system, ("touch exploited",))


def test_pickled_weights_are_refused(emoji, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    emoji.save_pretrained(tmp_path / "bad")
    for weights in (tmp_path / "bad/unet").glob("*.safetensors"):
        weights.unlink()
    (tmp_path / "bad/unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(OSError):
        open_pipeline(str(tmp_path / "bad"))
    assert not (tmp_path / "exploited").exists()
