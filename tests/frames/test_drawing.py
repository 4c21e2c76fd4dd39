"""Clips: where the network is as the policy takes it to be, frames between are exact."""

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from frdiff import AdaptivePolicy, JumpPolicy, UniformPolicy
from frdiff.frames import FramePolicy, StyleGenerator, draw

SMALL = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "sample_size": 16,
}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return AutoencoderKL(**SMALL).eval()


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return StyleGenerator(8, 16, (16, 8, 8)).eval()


def walk(num_frames, seed=0, shape=(4, 8, 8)):
    ends = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.stack([torch.lerp(*ends, i / max(num_frames - 1, 1)) for i in range(num_frames)])


def drawn(network, inputs, policy, make=None):
    return torch.cat(list(draw(network, inputs, policy, make)))


def decoded(vae):
    return lambda z: vae.decode(z).sample


@torch.no_grad()
@pytest.mark.parametrize("targets", ["all", "residual", "paper", (), ["mid_block*"]])
def test_interval_1_draws_what_the_network_does(vae, targets):
    latents = walk(10)
    with pytest.warns(UserWarning, match="computes 100%"):
        clip = drawn(vae.decoder, latents, FramePolicy(1, targets=targets), decoded(vae))
    assert torch.equal(clip, torch.cat([vae.decode(row[None]).sample for row in latents]))


class Polynomial(torch.nn.Module):
    """A frame that is a polynomial of the third degree of its place in the clip."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return 1 + x - 2 * x**2 + 0.5 * x**3


@pytest.mark.parametrize(("order", "exact"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_whole_frames_are_interpolated_to_the_order(order, exact):
    # Away from the ends all nodes are there.
    network, places = Polynomial(), torch.linspace(0, 2, 21).reshape(21, 1, 1)
    clip = drawn(network, places, FramePolicy(2, order, ()))
    assert network.calls == 11
    wanted = 1 + places - 2 * places**2 + 0.5 * places**3
    error = (clip - wanted)[4:-4].abs().max()
    assert (error < 1e-5) == (exact == 3)


@torch.no_grad()
@pytest.mark.parametrize("targets", ["all", "residual", ()])
def test_a_clip_that_stands_still_is_exact(vae, targets):
    latents = walk(1).expand(11, -1, -1, -1)
    policy = FramePolicy(3, targets=targets, placing="moves")
    clip = drawn(vae.decoder, latents, policy, decoded(vae))
    assert torch.allclose(clip, vae.decode(latents[:1]).sample.expand_as(clip), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("targets", ["all", ()])
def test_the_higher_the_order_the_closer(vae, targets):
    latents = walk(33)
    full = torch.cat([vae.decode(row[None]).sample for row in latents])
    errors = [
        (drawn(vae.decoder, latents, FramePolicy(2, order, targets), decoded(vae)) - full).norm()
        for order in (0, 1, 3)
    ]
    assert errors[2] < errors[1] < errors[0]


@torch.no_grad()
@pytest.mark.parametrize("targets", ["all", "residual", ()])
def test_generators_are_networks_like_others(generator, targets):
    latents = walk(17, shape=(8,))
    clip = draw(generator, latents, FramePolicy(2, targets=targets))
    frames = torch.cat(list(clip))
    full = generator(latents)
    step = (full[1:] - full[:-1]).norm()
    assert (frames - full).norm() < 0.2 * step
    assert clip.stats.macs_ratio < (0.61 if targets != "residual" else 0.8)


@torch.no_grad()
@pytest.mark.parametrize(
    "policy",
    [
        UniformPolicy(2, mixing=False, forecast=1, targets="all"),
        JumpPolicy(2),
        AdaptivePolicy(0.01, targets="residual"),
    ],
)
def test_policies_for_steps_take_frames_as_they_come(vae, policy):
    latents = walk(11)
    full = torch.cat([vae.decode(row[None]).sample for row in latents])
    clip = draw(vae.decoder, iter(latents.split(1)), policy, decoded(vae))
    frames = torch.cat(list(clip))
    assert frames.shape == full.shape and clip.stats.steps == 11
    assert torch.equal(frames[0], full[0])


@torch.no_grad()
def test_rows_of_a_batch_are_clips_of_their_own(vae):
    latents = [walk(11, seed=seed) for seed in (1, 2)]
    pairs = list(torch.stack(latents, dim=1))
    both = drawn(vae.decoder, pairs, FramePolicy(2), decoded(vae)).unflatten(0, (11, 2))
    for number, row in enumerate(latents):
        alone = drawn(vae.decoder, row, FramePolicy(2), decoded(vae))
        assert torch.allclose(both[:, number], alone, atol=1e-4)


@torch.no_grad()
def test_the_network_is_left_as_it_was(vae):
    latents, forward = walk(11), vae.decoder.forward
    clip = iter(draw(vae.decoder, latents, FramePolicy(2), decoded(vae)))
    next(clip)
    with pytest.raises(ValueError, match="already applied"):
        next(iter(draw(vae.decoder, latents, FramePolicy(2), decoded(vae))))
    clip.close()
    assert vae.decoder.forward == forward

    def fail(z):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        list(draw(vae.decoder, latents, FramePolicy(2), fail))
    assert vae.decoder.forward == forward


@torch.no_grad()
def test_a_budget_is_held(vae):
    latents = walk(11)
    with pytest.raises(MemoryError, match="max_bytes"):
        list(draw(vae.decoder, latents, FramePolicy(2), decoded(vae), max_bytes=1000))


@pytest.mark.parametrize("inputs", [[], torch.zeros(0, 4, 8, 8), [torch.zeros(())], "mixed"])
def test_inputs_of_no_one_shape_are_refused(vae, inputs):
    rows = [torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 9)] if inputs == "mixed" else inputs
    with pytest.raises(ValueError, match="inputs of one shape"):
        draw(vae.decoder, rows, FramePolicy(2), decoded(vae))


@torch.no_grad()
def test_networks_without_residual_blocks_interpolate_frames():
    torch.manual_seed(0)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    ).eval()  # fmt: skip
    latents = walk(11)
    full = torch.cat([tiny.decode(row[None]).sample for row in latents])
    clip = drawn(tiny.decoder, latents, FramePolicy(2, 3, ()), lambda z: tiny.decode(z).sample)
    assert torch.equal(clip[::2], full[::2])
