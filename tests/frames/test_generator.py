"""The style generator: pictures follow latents' direction alone, and its blocks are targets."""

import pytest
import torch

from frdiff.adapters import find_targets
from frdiff.frames import FramePolicy, StyleGenerator, compare, load_generator, walk
from frdiff.frames.generator import HERE, is_generator


def made():
    torch.manual_seed(0)
    return StyleGenerator(8, 16, (16, 8, 4), num_anchors=5).eval()


@torch.no_grad()
def test_only_the_direction_of_a_latent_counts():
    generator, latents = made(), torch.randn(3, 8)
    pictures = generator(latents)
    assert pictures.shape == (3, 3, 32, 32)
    assert torch.allclose(pictures, generator(7 * latents), atol=1e-5)
    assert torch.allclose(generator(generator.anchors).mean(), generator(generator.anchors).mean())


@torch.no_grad()
def test_a_styled_convolution_keeps_unit_variance():
    generator = made()
    convolution = generator.blocks[1].conv1
    convolution.bias.zero_()
    x = torch.randn(64, 16, 32, 32)
    y = convolution(x, torch.randn(64, 16))
    assert abs(y[..., 1:-1, 1:-1].std() - 1) < 0.05


def test_its_blocks_are_targets():
    names = [target.name for target in find_targets(made(), "residual")]
    assert names == ["blocks.0", "blocks.1", "blocks.2"]


@torch.no_grad()
def test_it_is_saved_with_its_anchors(tmp_path):
    generator = made()
    generator.save_pretrained(tmp_path)
    again = StyleGenerator.from_pretrained(tmp_path).eval()
    assert torch.equal(again.anchors, generator.anchors)
    assert torch.equal(again(generator.anchors), generator(generator.anchors))


def test_the_shipped_one_is_small_and_safe_and_no_pipeline():
    files = list((HERE / "emoji-gan").iterdir())
    assert sum(path.stat().st_size for path in files) <= 10 * 10**6
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}
    assert is_generator("emoji-gan") and not is_generator("emoji")
    with pytest.raises(ValueError, match="is no folder of a StyleGenerator"):
        load_generator("emoji")


@torch.no_grad()
def test_the_shipped_one_draws_its_anchors():
    generator, names = load_generator("emoji-gan")
    chosen = [names.index(name) for name in ("red apple", "blue heart")]
    apple, heart = generator(generator.anchors[chosen])[..., 24:40, 24:40].mean(dim=(2, 3))
    assert apple[0] > apple[2] + 0.5
    assert heart[2] > heart[0] + 0.5


@pytest.mark.slow
def test_a_walk_at_one_and_a_half_times_the_speed_is_near_the_full_one_and_flickers_no_more():
    generator, names = load_generator("emoji-gan")
    ends = [names.index(name) for name in ("red apple", "panda face", "hamburger", "wolf")]
    inputs = walk(generator.anchors[ends], 45)
    policies = {
        "features": FramePolicy(1.6, 3, "all", "moves"),
        "frames": FramePolicy(2, 3, (), "moves"),
    }
    _, *others = compare(generator, inputs, policies, rounds=1)
    for one in others:
        assert one.stats.macs_ratio <= 1 / 1.45
        assert one.psnr >= 35
        assert one.flicker <= 1.05
