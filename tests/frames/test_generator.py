"""The style generator: pictures follow latents' direction alone, and its blocks are targets."""

import torch

from frdiff.adapters import find_targets
from frdiff.frames import StyleGenerator


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
