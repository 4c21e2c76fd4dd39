"""Regions: equal to the whole call whatever changed, and no more computed than that reaches."""

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from frdiff.frames import regions

SMALL = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "mid_block_add_attention": False,
    "sample_size": 16,
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return AutoencoderKL(**SMALL).eval()


def edited(x, rows, columns):
    y = x.clone()
    y[..., slice(*rows), slice(*columns)] += 1
    return y


convolutions = pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": (5, 3), "padding": (2, 0)},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": 3, "dilation": 2, "padding": "same"},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 3, "padding": "valid"},
        {"kernel_size": 3, "padding": 4, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@convolutions
@pytest.mark.parametrize(
    ("rows", "columns"),
    [((0, 3), (0, 2)), ((5, 6), (7, 8)), ((9, 12), (13, 15)), ((0, 12), (0, 15)), ((2, 2), (0, 1))],
)
@torch.no_grad()
def test_a_convolution_is_as_if_computed_in_full(options, rows, columns):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, **options))
    x = noise(2, 4, 12, 15)
    y = edited(x, rows, columns)
    with regions(network) as kept:
        first = network(x)
        assert kept.macs == kept.full_macs
        found = network(y)
        assert kept.macs <= kept.full_macs
        if rows == (2, 2):
            assert kept.macs == 0
    assert torch.equal(first, network(x))
    assert torch.allclose(found, network(y), atol=1e-5)


@torch.no_grad()
def test_macs_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1))
    x = noise(1, 2, 20, 20)
    with regions(network) as kept:
        network(x)
        assert kept.macs == kept.full_macs == 400 * 9 * (2 * 3 + 3 * 2)
        network(edited(x, (8, 10), (0, 4)))
        # 2 x 4 at the left edge reaches 4 x 5, that reaches 6 x 6.
        assert kept.macs == 20 * 9 * 2 * 3 + 36 * 9 * 3 * 2
        network(edited(x, (8, 10), (0, 4)))
        assert kept.macs == 0


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_decoder_is_as_if_computed_in_full_with_the_same_norms(vae, dtype):
    one = AutoencoderKL.from_config(vae.config).to(dtype).eval()
    one.load_state_dict(vae.state_dict())
    x = noise(1, 4, 40, 40).to(dtype)
    y = edited(x, (3, 6), (4, 9))
    with regions(one.decoder) as kept:
        first = one.decode(x).sample
        found = one.decode(y).sample
        share = kept.macs / kept.full_macs
        kept.forget(norms=False)
        whole = one.decode(y).sample
    tolerance = 1e-5 if dtype is torch.float32 else 0.05
    assert torch.allclose(found, whole, atol=tolerance)
    assert share < 0.5
    assert torch.allclose(first, one.decode(x).sample, atol=tolerance)


@torch.no_grad()
def test_without_held_norms_it_is_the_plain_network(vae):
    x = noise(1, 4, 12, 12)
    y = edited(x, (3, 4), (4, 5))
    with regions(vae.decoder, hold_norms=False):
        vae.decode(x)
        found = vae.decode(y).sample
    assert torch.allclose(found, vae.decode(y).sample, atol=1e-5)


@torch.no_grad()
def test_a_decoder_without_norms_is_exact():
    torch.manual_seed(0)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    ).eval()  # fmt: skip
    x = noise(1, 4, 32, 32)
    y = edited(x, (3, 4), (4, 5))
    with regions(tiny.decoder) as kept:
        tiny.decode(x)
        found = tiny.decode(y).sample
        assert kept.macs < 0.3 * kept.full_macs
    assert torch.allclose(found, tiny.decode(y).sample, atol=1e-5)


@torch.no_grad()
def test_results_may_be_changed_in_place():
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True))
    x = noise(1, 2, 4, 4)
    with regions(network):
        first = network(x)
        wanted = first.clone()
        first.zero_()
        x = x.clone()
        assert torch.equal(network(x), wanted)
        x[..., 0, 0] += 1  # what was given may be changed in place, too
        found = network(x)
    assert torch.equal(found, network(x))


@torch.no_grad()
def test_another_shape_or_an_interruption_begins_anew(vae):
    x, y = noise(1, 4, 12, 12), noise(2, 4, 10, 10)
    with regions(vae.decoder) as kept:
        vae.decode(x)
        assert torch.allclose(vae.decode(y).sample, vae.decode(y).sample)
        vae.decode(x)
        assert kept.macs == kept.full_macs
        with pytest.raises(RuntimeError):
            vae.decoder(noise(1, 5, 12, 12))
        vae.decode(x)
        assert kept.macs == kept.full_macs
        assert kept.nbytes > 0
    assert kept.nbytes == 0


@torch.no_grad()
def test_the_network_is_left_as_it_was(vae):
    before = {name: module.forward for name, module in vae.decoder.named_modules()}
    with pytest.raises(OSError, match="no disk"), regions(vae.decoder):
        raise OSError("no disk")
    assert before == {name: module.forward for name, module in vae.decoder.named_modules()}


def test_networks_without_convolutions_are_refused():
    with pytest.raises(ValueError, match="no 2D convolution"):
        regions(nn.Linear(2, 2))
