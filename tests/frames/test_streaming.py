"""Streaming decode: the frames of decoding at once, for every plan of chunks, and no more memory.

Every causal video VAE of diffusers is built at tiny size; those that are not causal are refused.
"""

import diffusers
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frdiff.frames.streaming import CHANNELS, streaming
from frdiff.network.wrapped import Wrapped

EXACT = 1e-5
WAN = {
    "base_dim": 8, "z_dim": 16, "dim_mult": [1] * 3, "num_res_blocks": 1,
    "temperal_downsample": [True, True],
}  # fmt: skip


def wan(**settings):
    return diffusers.AutoencoderKLWan(**WAN, scale_factor_spatial=4, **settings)


def wan_residual():
    return wan(is_residual=True, patch_size=2, in_channels=12, out_channels=12)


def qwen_image():
    return diffusers.AutoencoderKLQwenImage(**WAN)


def ltx(decoder_causal=True):
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1, decoder_causal=decoder_causal,
    )  # fmt: skip


def ltx_residual():
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True,) * 3, decoder_inject_noise=(False,) * 4,
        upsample_residual=(True,) * 3, upsample_factor=(2,) * 3, patch_size=1, decoder_causal=True,
    )  # fmt: skip


def ltx2(decoder_causal=True):
    return diffusers.AutoencoderKLLTX2Video(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4, patch_size=1,
        decoder_causal=decoder_causal,
    )  # fmt: skip


def mochi():
    return diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4,
        layers_per_block=(1,) * 5,
    )  # fmt: skip


def cosmos():
    return diffusers.AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=(8,) * 4, decode_block_out_channels=(8,) * 4,
        attention_resolutions=(8,), resolution=64, num_layers=1, patch_size=2,
        spatial_compression_ratio=4, temporal_compression_ratio=4,
    )  # fmt: skip


def hunyuan_15():
    return diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16,) * 3, layers_per_block=1,
        spatial_compression_ratio=4,
    )  # fmt: skip


def magvit():
    return diffusers.AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=[8] * 3, layers_per_block=1, norm_num_groups=2,
        down_block_types=["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 2],
        up_block_types=["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 2],
    )  # fmt: skip


def kandinsky_6():
    return diffusers.Kandinsky6SRVAE(
        latent_channels=4, encoder_block_out_channels=(4, 8, 16),
        decoder_block_out_channels=(8,) * 3, layers_per_block=1,
    )  # fmt: skip


def cogvideox():
    return diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip


def hunyuan():
    return diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8,) * 4,
        layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip


def refiner():
    return diffusers.AutoencoderKLHunyuanImageRefiner(
        latent_channels=4, block_out_channels=(16,) * 5, layers_per_block=1
    )


def kvae():
    return diffusers.AutoencoderKLKVAEVideo(
        ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, z_channels=4
    )


def vidtok(is_causal=True):
    return diffusers.AutoencoderVidTok(ch=8, ch_mult=[1] * 4, num_res_blocks=1, is_causal=is_causal)


def temporal_decoder():
    return diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",), layers_per_block=1
    )


def allegro():
    return diffusers.AutoencoderKLAllegro(
        block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=2,
        down_block_types=("AllegroDownBlock3D",) * 4, up_block_types=("AllegroUpBlock3D",) * 4,
    )  # fmt: skip


def minimax():
    vae = diffusers.AutoencoderKLMiniMaxH3(
        block_out_channels=(8,) * 6, norm_num_groups=2, decoder_num_layers=1,
        decoder_num_attention_heads=2, decoder_attention_head_dim=16,
    )  # fmt: skip
    vae.disable_tiling()
    return vae


def qwen_image_21():
    return diffusers.AutoencoderKLQwenImage21(**WAN)


CAUSAL = [
    wan, wan_residual, qwen_image, ltx, ltx_residual, ltx2, mochi, cosmos, hunyuan_15, magvit,
    kandinsky_6,
]  # fmt: skip
# Bytes of the keys and values of a latent of 2x3: attentions x 2 x channels x places x 4.
KEPT = {cosmos: 3 * 2 * 8 * 6 * 4, hunyuan_15: 1 * 2 * 16 * 6 * 4}
every_vae = pytest.mark.parametrize("make", CAUSAL, ids=lambda make: make.__name__)


class Peak(TorchDispatchMode):
    """Counts the bytes of live tensors made while entered; `most` is how many there were."""

    def __init__(self):
        super().__init__()
        self.live, self.counted, self.most = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                size = storage.nbytes()
                self.counted += size - self.live.setdefault(StorageWeakRef(storage), 0)
                self.live[StorageWeakRef(storage)] = size
        if self.counted > self.most:
            # Only now is it worth a look which are dead.
            self.live = {ref: size for ref, size in self.live.items() if not ref.expired()}
            self.counted = sum(self.live.values())
            self.most = max(self.most, self.counted)
        return result


def made(make):
    torch.manual_seed(0)
    return make().eval()


def drawn(vae, frames, batch=1, seed=1):
    channels = next(vae.config[name] for name in CHANNELS if name in vae.config)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, frames, 2, 3, generator=generator)


@torch.no_grad()
def at_once(vae, latents):
    return vae.decode(latents).sample


def furthest(frames, expected):
    joined = torch.cat(list(frames), 2)
    assert joined.shape == expected.shape
    return float((joined - expected).abs().max())


@every_vae
def test_frames_are_those_of_decoding_at_once(make):
    vae = made(make)
    clips = {length: drawn(vae, length) for length in (1, 2, 5, 9)}
    expected = {length: at_once(vae, latents) for length, latents in clips.items()}
    with streaming(vae) as stream:
        for length, latents in clips.items():
            for chunk in {1, min(length, 4)}:
                assert furthest(stream.decode(latents, chunk), expected[length]) <= EXACT
        for plan in ([1, 8], [3, 1, 5]):
            chunks = clips[9].split(plan, dim=2)
            assert furthest(stream.decode(iter(chunks)), expected[9]) <= EXACT


@every_vae
def test_long_clip_and_its_memory(make):
    """33 latents take what 5 take; and keys and values of 28 more, where a decoder attends."""
    vae = made(make)
    latents = drawn(vae, 33)
    peaks = {}
    with streaming(vae) as stream:
        pieces = list(stream.decode(latents))
        for length in (5, 33):
            with Peak() as peak:
                for frames in stream.decode(latents[:, :, :length]):
                    del frames
            peaks[length] = peak.most
    assert furthest(pieces, at_once(vae, latents)) <= EXACT
    assert 0 <= peaks[33] - peaks[5] <= 28 * KEPT.get(make, 0)


# HunyuanVideo 1.5 of diffusers decodes no batches: its mask does not broadcast.
@pytest.mark.parametrize(
    "make", [make for make in CAUSAL if make is not hunyuan_15], ids=lambda make: make.__name__
)
def test_batch(make):
    vae = made(make)
    latents = drawn(vae, 4, batch=2)
    expected = at_once(vae, latents)
    with streaming(vae) as stream:
        assert furthest(stream.decode(latents.split([1, 3], dim=2)), expected) <= EXACT


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: ltx(False), "decoder.conv_in.conv "),
        (lambda: ltx2(False), "decoder.conv_in.conv "),
        (cogvideox, "decoder.mid_block.resnets.0.norm1.norm_layer "),
        (hunyuan, "decoder.mid_block.resnets.0.norm1 "),
        (refiner, "decoder.mid_block.attentions.0 "),
        (kvae, "decoder.mid.block_1.norm1.norm_layer.norm_layer "),
        (vidtok, "decoder.up_temporal.2.upsample "),
        (lambda: vidtok(False), "decoder.conv_in pads both ends of time"),
        (allegro, "decoder.temp_conv_in pads both ends of time"),
        (temporal_decoder, "decoder.mid_block.resnets.0.temporal_res_block.conv1 pads both ends"),
        (minimax, "cannot decode a clip of 1 latent frames"),
        (qwen_image_21, "cannot decode a clip of 3 latent frames"),
    ],
    ids=[
        "ltx", "ltx2", "cogvideox", "hunyuan", "refiner", "kvae", "vidtok causal", "vidtok",
        "allegro", "temporal decoder", "minimax", "qwen image 2.1",
    ],
)  # fmt: skip
def test_not_causal_is_refused_by_layer(make, layer):
    vae = made(make)
    with pytest.raises(ValueError, match=layer), streaming(vae):
        pass
    for module in vae.modules():
        assert not any(isinstance(value, Wrapped) for value in vars(module).values())
        assert not module._forward_hooks and not module._forward_pre_hooks


@pytest.mark.parametrize("weight", [0.1, 0.003])
def test_a_weak_look_ahead_is_refused(weight):
    vae = made(refiner)
    with torch.no_grad():
        projection = vae.decoder.mid_block.attentions[0].proj_out
        projection.weight *= weight
        projection.bias *= weight
    with pytest.raises(ValueError, match=r"decoder\.mid_block\.attentions\.0 "), streaming(vae):
        pass


@pytest.mark.parametrize("make", [wan, ltx, mochi, cosmos, magvit], ids=lambda make: make.__name__)
@pytest.mark.parametrize("ending", ["exception", "abandoned", "finished"])
def test_leaves_nothing_behind(make, ending):
    vae = made(make)
    latents = drawn(vae, 3)
    expected = at_once(vae, latents)
    wrapped = [dict(vars(module)) for module in vae.modules()]
    pieces = None
    try:
        with streaming(vae) as stream:
            pieces = stream.decode(latents)
            next(pieces)
            if ending == "exception":
                raise KeyError("in the middle")
            if ending == "finished":
                assert len(list(pieces)) == 2
    except KeyError:
        assert ending == "exception"
    for module, then in zip(vae.modules(), wrapped, strict=True):
        assert vars(module).keys() == then.keys()
    assert torch.equal(at_once(vae, latents), expected)
    if ending != "finished":
        with pytest.raises(RuntimeError, match="was left"):
            next(pieces)


def test_chunks_are_taken_when_their_frames_are_asked_for():
    vae = made(ltx)
    taken = []

    def coming():
        for latents in drawn(vae, 3).split(1, dim=2):
            taken.append(latents)
            yield latents

    with streaming(vae) as stream:
        frames = stream.decode(coming())
        assert not taken
        assert next(frames).shape == (1, 3, 1, 8, 12) and len(taken) == 1
        assert next(frames).shape == (1, 3, 4, 8, 12) and len(taken) == 2


def test_every_decode_begins_a_clip():
    vae = made(wan)
    first, second = drawn(vae, 3), drawn(vae, 3, seed=2)
    expected = at_once(vae, second)
    with streaming(vae) as stream:
        begun = stream.decode(first)
        next(begun)
        assert furthest(stream.decode(second), expected) <= EXACT
        with pytest.raises(RuntimeError, match="another clip begun"):
            next(begun)


def test_one_stream_at_a_time():
    vae = made(wan)
    video = torch.zeros(1, 3, 1, 16, 16)
    with streaming(vae):
        with pytest.raises(RuntimeError, match="open already"), streaming(vae):
            pass
        with pytest.raises(RuntimeError, match="before you decode"):
            vae.decode(drawn(vae, 1))
        with pytest.raises(RuntimeError, match="before you encode"):
            vae.encode(video)
    vae = made(ltx)
    expected = vae.encode(video).latent_dist.mean
    with streaming(vae):
        assert torch.equal(vae.encode(video).latent_dist.mean, expected)


def test_noise_before_it_is_not_disturbed():
    vae = made(ltx)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with streaming(vae) as stream:
        list(stream.decode(drawn(vae, 2)))
    assert torch.equal(torch.rand(2), expected)


def test_half_precision():
    vae = made(ltx).to(torch.bfloat16)
    latents = drawn(vae, 4).to(torch.bfloat16)
    expected = at_once(vae, latents)
    with streaming(vae) as stream:
        frames = torch.cat(list(stream.decode(latents)), 2)
    assert frames.dtype == torch.bfloat16
    assert torch.allclose(frames, expected, atol=0.05)


@pytest.mark.parametrize(
    ("chunks", "error", "said"),
    [
        (torch.zeros(1, 8, 2, 3), ValueError, r"\(batch, 8, frames, height, width\), got"),
        (torch.zeros(1, 4, 1, 2, 3), ValueError, r"got \(1, 4, 1, 2, 3\)"),
        (torch.zeros(1, 8, 0, 2, 3), ValueError, r"got \(1, 8, 0, 2, 3\)"),
        (["latents"], TypeError, "a chunk must be a tensor of latents, got str"),
        ([torch.zeros(1, 8, 1, 2, 3), torch.zeros(1, 8, 1, 3, 2)], ValueError, "of one shape"),
        ([torch.zeros(1, 8, 1, 2, 3), torch.zeros(2, 8, 1, 2, 3)], ValueError, "of one shape"),
    ],
)
def test_wrong_latents(chunks, error, said):
    with streaming(made(ltx)) as stream, pytest.raises(error, match=said):
        list(stream.decode(chunks))


def test_wrong_settings():
    with streaming(made(ltx)) as stream:
        with pytest.raises(ValueError, match="chunk"):
            stream.decode(torch.zeros(1, 8, 1, 2, 3), chunk=0)
    with pytest.raises(RuntimeError, match="was left"):
        stream.decode(torch.zeros(1, 8, 1, 2, 3))
    for setting in ("tiling", "slicing"):
        vae = made(ltx)
        getattr(vae, f"enable_{setting}")()
        with pytest.raises(ValueError, match=f"call vae.disable_{setting}"), streaming(vae):
            pass
    vae = made(ltx)
    vae.use_framewise_decoding = True
    with pytest.raises(ValueError, match="use_framewise_decoding = False"), streaming(vae):
        pass
    assert vae.use_framewise_decoding
    with pytest.raises(TypeError, match="got Linear"), streaming(torch.nn.Linear(2, 2)):
        pass
