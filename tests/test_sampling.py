"""Samples of whatever a pipeline returns, in batches or one by one."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import make_dit_pipe
from frdiff.sampling import NoArrayError, as_array, asks_for_number, needs_prompts, sample
from pipelines_zoo import zoo

NAMES = ["stable-diffusion-img2img", "latent-super-resolution", "dit", "stable-audio", "ltx"]


@dataclass
class Returned:
    nothing: object = None
    frames: object = None
    more: object = None


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        (torch.zeros(2, 3, 4, dtype=torch.bfloat16), (2, 3, 4)),
        ([np.zeros((3, 4)), np.zeros((3, 4))], (2, 3, 4)),
        ([Image.new("RGB", (4, 3))], (1, 3, 4, 3)),
        ([[Image.new("RGB", (4, 3))] * 5] * 2, (2, 5, 3, 4, 3)),
        ((np.zeros((2, 8)), "the rest"), (2, 8)),
        (Returned(frames=torch.zeros(2, 5), more=torch.zeros(7)), (2, 5)),
    ],
)
def test_whatever_is_returned_becomes_an_array(returned, shape):
    array = as_array(returned)
    assert array.shape == shape and array.dtype == np.float32


def test_pictures_become_values_up_to_1():
    assert as_array([Image.new("RGB", (1, 1), "white")]).tolist() == [[[[1.0, 1.0, 1.0]]]]


def test_what_is_no_array_is_refused():
    for returned in ([{"a": 1}], [np.zeros(3), np.zeros(4)]):
        with pytest.raises(NoArrayError, match="compare final latents with latents=True"):
            as_array(returned)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_own_seed_alone_whoever_makes_the_batch(name):
    tiny = zoo()[name]()
    prompts = (tiny.prompts or [""] * 3)[:3]
    together = sample(tiny.pipe, prompts, steps=3, seed=5, inputs=tiny.inputs)
    alone = sample(tiny.pipe, prompts[2:], steps=3, seed=7, inputs=tiny.inputs)
    assert len(together) == 3
    np.testing.assert_allclose(together[2:], alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_classes_are_texts_or_numbers_and_a_text_is_no_list():
    pipe = make_dit_pipe()
    assert (sample(pipe, [1, 2], steps=2) == sample(pipe, ["1", "2"], steps=2)).all()
    with pytest.raises(TypeError, match="prompts must be a list, got 'red apple'"):
        sample(pipe, "red apple", steps=2)
    with pytest.raises(TypeError, match=r"texts or class numbers, got 1\.5"):
        sample(pipe, [1.5], steps=2)


def test_what_decides_how_many_samples_a_call_makes():
    cases = {
        "stable-diffusion": (False, False),  # embeddings of one prompt
        "latent-super-resolution": (False, True),  # a batch size, which its picture contradicts
        "dit": (True, True),
        "unconditional-ddim": (False, True),
        "stable-video-diffusion": (False, False),
    }
    for name, expected in cases.items():
        tiny = zoo()[name]()
        found = needs_prompts(tiny.pipe, tiny.inputs), asks_for_number(tiny.pipe, tiny.inputs)
        assert found == expected, name
    assert asks_for_number(zoo()["stable-diffusion"]().pipe, {})


def test_missing_and_unknown_inputs_are_named_before_anything_is_drawn():
    tiny = zoo()["stable-video-diffusion"]()
    with pytest.raises(ValueError, match=r"draws nothing without image; pass inputs=\{'image'"):
        sample(tiny.pipe, [""], steps=3)
    with pytest.raises(ValueError, match="does not take the inputs imgae; it takes image, height"):
        sample(tiny.pipe, [""], steps=3, inputs={"imgae": None})
    with pytest.raises(ValueError, match="takes class numbers"):
        sample(make_dit_pipe(), ["1", "apple"], steps=3)
