"""Posteriors encoded once: draws as from the VAE, and no file taken for another."""

import json
import pickle
import resource
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    AutoencoderRAE,
    AutoencoderTiny,
)
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from conftest import make_vae
from frdiff import posteriors
from frdiff.posteriors.manifest import (
    MANIFEST,
    UNFINISHED,
    read_manifest,
    sha256_of,
    shard_name,
    write_manifest,
)

ITEMS, BATCH, SHARD = 10, 2, 3  # shards of 3, 3, 3 and 1 pictures
SIZES = {"batch_size": BATCH, "shard_size": SHARD}
MADE = {"size": 16, "flip": None}
ROUNDING = 2**-10  # of a number in float16, twice over


@pytest.fixture(scope="module")
def vae():
    vae = make_vae()
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    return vae


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(ITEMS, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def whole(vae, pictures, tmp_path_factory):
    """A folder that is never written to again."""
    folder = tmp_path_factory.mktemp("whole")
    posteriors.build(vae, pictures, folder, MADE, **SIZES)
    return folder


@pytest.fixture
def cache(whole, tmp_path):
    """One that a test may damage."""
    return shutil.copytree(whole, tmp_path / "cache")


@pytest.fixture
def encoded(vae):
    """The number of pictures in each call of the encoder."""
    calls = []
    handle = vae.encoder.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    yield calls
    handle.remove()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def altered(folder, change, name=MANIFEST):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(folder, vae, match, made=MADE):
    with pytest.raises(ValueError, match=match):
        posteriors.CachedPosteriors(folder, vae, made)


# Draws.


@torch.no_grad()
def test_draws_have_the_mean_and_variance_of_the_posterior(whole, vae, pictures):
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    count = 4000
    torch.manual_seed(0)
    draws = data.sample([4] * count)
    posterior = vae.encode(pictures[4:5]).latent_dist
    mean, std = (posterior.mean[0] - 0.25) * 0.5, posterior.std[0] * 0.5
    rounding = ROUNDING * (posterior.mean[0].abs() + 1)
    # Of 256 normal numbers none is 5 standard errors away.
    assert ((draws.mean(0) - mean).abs() <= 5 * std / count**0.5 + rounding).all()
    error = (2 / (count - 1)) ** 0.5
    assert ((draws.var(0) / std**2 - 1).abs() <= 5 * error + 4 * ROUNDING).all()


@torch.no_grad()
def test_a_generator_draws_what_it_draws_from_the_vae(whole, vae, pictures):
    index = torch.tensor([9, 0, 5, 5])
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    drawn = data.sample(index, torch.Generator().manual_seed(7))
    wanted = vae.encode(pictures[index]).latent_dist.sample(torch.Generator().manual_seed(7))
    assert drawn.dtype == torch.float32
    assert torch.allclose(drawn, (wanted - 0.25) * 0.5, rtol=0, atol=2e-3)
    plain = posteriors.CachedPosteriors(whole, vae, MADE, scaled=False)
    assert torch.allclose(
        plain.sample(index, torch.Generator().manual_seed(7)), wanted, rtol=0, atol=4e-3
    )


def test_draws_are_new_every_time_and_seeded_by_torch(whole, vae):
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    torch.manual_seed(1)
    first, second = data[3], data[3]
    torch.manual_seed(1)
    assert torch.equal(data[3], first) and not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(data[3 - ITEMS], first)
    torch.manual_seed(1)
    batch = data.sample([3, 8])
    torch.manual_seed(1)
    assert all(torch.equal(*pair) for pair in zip(data.__getitems__([3, 8]), batch, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_draws_anew_every_epoch_and_the_same_from_the_same_seed(whole, vae, workers):
    data = posteriors.CachedPosteriors(whole, vae, MADE)

    def epochs():
        torch.manual_seed(2)
        loader = DataLoader(data, batch_size=4, num_workers=workers)
        return [torch.cat(list(loader)) for _ in range(2)]

    (first, second), again = epochs(), epochs()
    assert first.shape == (ITEMS, 4, 8, 8)
    assert not torch.isclose(first, second).all(dim=(1, 2, 3)).any()
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])


def test_a_pickled_dataset_takes_no_posteriors_along(whole, vae):
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    torch.manual_seed(3)
    batch = data.sample(range(ITEMS))
    text = pickle.dumps(data)
    assert len(text) < (whole / shard_name(0)).stat().st_size
    torch.manual_seed(3)
    assert torch.equal(pickle.loads(text).sample(range(ITEMS)), batch)


@pytest.mark.parametrize("labels", ["abcdefghij", torch.arange(ITEMS)], ids=["text", "tensor"])
def test_labels_come_beside_their_latents(whole, vae, labels):
    data = posteriors.CachedPosteriors(whole, vae, MADE, labels=labels)
    plain = posteriors.CachedPosteriors(whole, vae, MADE)
    for index in (0, 7, -1):
        torch.manual_seed(4)
        latent, label = data[index]
        torch.manual_seed(4)
        assert torch.equal(latent, plain[index]) and label == labels[index]
    (_, batch), *_ = DataLoader(data, batch_size=4)
    assert list(batch) == list(labels[:4])
    with pytest.raises(ValueError, match=f"labels must be {ITEMS}, one a picture, got 3"):
        posteriors.CachedPosteriors(whole, vae, MADE, labels=labels[:3])


@pytest.mark.parametrize("index", [ITEMS, -ITEMS - 1])
def test_there_is_no_picture_beyond_the_last(whole, vae, index):
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    assert len(data) == ITEMS
    with pytest.raises(IndexError, match=f"there are {ITEMS} pictures"):
        data[index]


@pytest.mark.parametrize("indices", [[], [True, False], [0.0], torch.zeros(1, 1).int()], ids=str)
def test_indices_are_whole_numbers(whole, vae, indices):
    data = posteriors.CachedPosteriors(whole, vae, MADE)
    with pytest.raises(TypeError, match="whole numbers"):
        data.sample(indices)


# Other VAEs.


def wan():
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )  # fmt: skip


def cogvideox():
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip


def ltx():
    plain = (False, False, False, False)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, *plain), upsample_residual=plain,
        upsample_factor=(1,) * 4, timestep_conditioning=False, patch_size=1, patch_size_t=1,
    )  # fmt: skip
    vae.latents_mean.fill_(0.5)
    vae.latents_std.fill_(4.0)
    return vae


def by_channel(vae):
    mean, std = (
        torch.tensor(one).view(1, -1, 1, 1, 1)
        for one in (vae.config.latents_mean, vae.config.latents_std)
    )
    return lambda z: (z - mean) / std


VIDEO = {
    "wan": (wan, by_channel),
    "cogvideox": (cogvideox, lambda vae: lambda z: z * vae.config.scaling_factor),
    "ltx": (ltx, lambda vae: lambda z: (z - 0.5) / 4),
}


@torch.no_grad()
@pytest.mark.parametrize("name", VIDEO)
def test_latents_of_video_are_drawn_and_scaled_as_pipelines_do(name, tmp_path):
    make, scaling = VIDEO[name]
    torch.manual_seed(0)
    vae = make().eval()
    clips = torch.rand(3, 3, 9, 32, 32) * 2 - 1
    posteriors.build(vae, clips, tmp_path, "clips", batch_size=1, shard_size=2)
    data = posteriors.CachedPosteriors(tmp_path, vae, "clips")
    posterior = vae.encode(clips[2:]).latent_dist
    wanted = scaling(vae)(posterior.sample(torch.Generator().manual_seed(5)))
    drawn = data.sample([2], torch.Generator().manual_seed(5))
    assert torch.allclose(drawn, wanted, rtol=1e-3, atol=2e-3)


@torch.no_grad()
def test_a_vae_without_posterior_has_its_latents_stored(tmp_path, pictures):
    torch.manual_seed(0)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    ).eval()  # fmt: skip
    manifest = posteriors.build(tiny, pictures, tmp_path, "", **SIZES)
    assert manifest.tensors == ("latent",)
    data = posteriors.CachedPosteriors(tmp_path, tiny, "")
    assert torch.equal(data[1], data[1])
    assert torch.allclose(data[1], tiny.encode(pictures[1:2]).latents[0], rtol=ROUNDING)


@torch.no_grad()
def test_a_deep_compression_autoencoder_has_its_latents_stored_and_scaled(tmp_path, pictures):
    torch.manual_seed(0)
    deep = AutoencoderDC(
        in_channels=3, latent_channels=4, encoder_block_types=("ResBlock",) * 2,
        decoder_block_types=("ResBlock",) * 2, encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()), scaling_factor=0.5,
    ).eval()  # fmt: skip
    assert posteriors.build(deep, pictures, tmp_path, "").tensors == ("latent",)
    latent = posteriors.CachedPosteriors(tmp_path, deep, "")[1]
    assert torch.allclose(latent, 0.5 * deep.encode(pictures[1:2]).latent[0], atol=1e-3)


@torch.no_grad()
def test_latents_that_are_scaled_while_encoding_are_not_scaled_again(tmp_path, pictures):
    torch.manual_seed(0)
    vae = AutoencoderRAE(
        encoder_type="mae", encoder_patch_size=4, encoder_num_hidden_layers=1,
        decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=16, patch_size=4, encoder_input_size=16, image_size=16,
        latents_mean=[[[0.5]]], latents_std=[[[4.0]]], scaling_factor=0.5,
    ).eval()  # fmt: skip
    posteriors.build(vae, pictures[:2], tmp_path, "")
    latent = posteriors.CachedPosteriors(tmp_path, vae, "")[1]
    assert torch.allclose(latent, vae.encode(pictures[1:2]).latent[0], atol=1e-3)


def test_a_vae_that_says_nothing_of_its_scale_is_refused_unless_unscaled(tmp_path, pictures):
    vae = make_vae()
    vae.register_to_config(scaling_factor=None)
    posteriors.build(vae, pictures, tmp_path, MADE)
    refused(tmp_path, vae, "neither scaling_factor nor latents_mean")
    assert posteriors.CachedPosteriors(tmp_path, vae, MADE, scaled=False)[0].isfinite().all()


# Refusals.


def test_a_cache_of_another_source_is_refused_by_name(whole, vae):
    other = make_vae()
    other.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    with torch.no_grad():
        other.decoder.conv_in.weight.add_(1)  # no part in what is encoded
        posteriors.CachedPosteriors(whole, other, MADE)
        other.encoder.conv_in.weight[0, 0, 0, 0] += 1
    refused(whole, other, "differ in the weights of the VAE's encoder;")
    refused(whole, vae, "differ in the preprocessing .* there, 'flipped' here", "flipped")
    refused(whole, vae, "differ in the preprocessing", {**MADE, "flip": False})
    refused(whole, other.half(), "weights of the VAE's encoder and the preprocessing", "flipped")
    refused(whole, make_vae(), "differ in the class or configuration of the VAE;")


def put(*keys, value):
    """Sets a field of a manifest."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    change.said = f"{'.'.join(map(str, keys))}={str(value)[:20]}"
    return change


def drop(*keys):
    """Leaves a field out."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    change.said = f"no {'.'.join(keys)}"
    return change


ANY = "a" * 64
FIELDS = [
    (put("frdiff_posteriors", value=2), "file version 2 is not supported"),
    (put("frdiff_posteriors", value=True), "file version True"),
    (drop("frdiff_posteriors"), "top level"),
    (put("more", value=1), r"unknown: \['more'\]"),
    (put("source", value="vae"), "source must be an object"),
    (drop("source"), "source must be an object"),
    (put("source", "more", value=1), "fields of source unknown"),
    (put("source", "vae_weights", value="0" * 12), "weights of the VAE's encoder"),
    (put("source", "vae_weights", value=5), "vae_weights must be digits"),
    (drop("source", "vae_weights"), "missing"),
    (put("source", "vae_config", value=ANY), "configuration of the VAE"),
    (put("source", "vae_config", value="A" * 64), "vae_config must be digits"),
    (drop("source", "vae_config"), "missing"),
    (put("source", "preprocessing", value="flipped"), "the preprocessing"),
    (put("source", "preprocessing", value=None), "preprocessing must be a text or an object"),
    (drop("source", "preprocessing"), "missing"),
    (put("items", value=ITEMS + 1), "must hold"),
    (put("items", value=ITEMS - 1), "shards must be 3, got 4"),
    (put("items", value=0), "items must be from 1"),
    (put("items", value=1e1), "items must be an integer"),
    (put("items", value=10**9), "larger shard_size"),
    (drop("items"), "missing"),
    (put("shard_size", value=SHARD + 1), "shards must be 3, got 4"),
    (put("shard_size", value=True), "shard_size must be an integer"),
    (drop("shard_size"), "missing"),
    (put("tensors", value=["latent"]), "must hold"),
    (put("tensors", value=["mean"]), "tensors must be"),
    (put("tensors", value=["std", "mean"]), "tensors must be"),
    (put("tensors", value=None), "tensors must be a list"),
    (drop("tensors"), "tensors must be a list"),
    (put("shape", value=[4, 8, 9]), "must hold"),
    (put("shape", value=[4, 64]), "must hold"),
    (put("shape", value=[4, -8, 8]), "a size in shape must be from 1"),
    (put("shape", value=[1] * 6), "dimensions in shape"),
    (put("shape", value="488"), "shape must be a list"),
    (drop("shape"), "shape must be a list"),
    (put("dtype", value="float32"), "dtype must be 'float16'"),
    (drop("dtype"), "missing"),
    (put("shards", 1, value=ANY), "content is"),
    (put("shards", 1, value=None), "must tell of the same ones"),
    (put("shards", 1, value="../x"), "a SHA-256 in shards must be digits"),
    (put("shards", value={}), "shards must be a list"),
    (drop("shards"), "missing"),
    (put("pictures", 1, value=None), "must tell of the same ones"),
    (put("pictures", 1, value="../x"), "a SHA-256 in pictures must be digits"),
    (put("pictures", value=[]), "pictures must be 4, got 0"),
    (drop("pictures"), "missing"),
    (put("content", value=ANY), "content is"),
    (put("content", value=None), "content is"),
    (drop("content"), "missing"),
]


@pytest.mark.parametrize(("change", "match"), FIELDS, ids=[change.said for change, _ in FIELDS])
def test_each_field_of_the_manifest_is_checked(cache, vae, change, match):
    altered(cache, change)
    refused(cache, vae, match)


def unbuilt(content):
    none = [None] * 4
    content |= {"shards": none, "pictures": none, "content": None, "tensors": None, "shape": None}


def test_a_manifest_of_nothing_built_is_refused(cache, vae):
    altered(cache, unbuilt)
    refused(cache, vae, "still to be built")


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "not a valid manifest"), ("[" * 10**5, "not a valid manifest"), ("[1]", "top level"),
     ("\xff", "not a valid manifest"), (" " * 4_000_001, "at most 4000000 bytes")],
    ids=["empty", "deep", "list", "latin", "large"],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(cache, vae, text, match):
    (cache / MANIFEST).write_bytes(text.encode("latin-1"))
    refused(cache, vae, match)


def cut(folder):
    path = folder / shard_name(1)
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / shard_name(1)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def swap(folder):
    (folder / shard_name(0)).rename(folder / "kept")
    (folder / shard_name(1)).rename(folder / shard_name(0))
    (folder / "kept").rename(folder / shard_name(1))


DAMAGE = {
    "cut off": (cut, "shard-00001.*cut off, altered or swapped"),
    "a bit flipped": (flip, "shard-00001.*cut off, altered or swapped"),
    "swapped": (swap, "shard-00000.*cut off, altered or swapped"),
    "missing": (
        lambda folder: (folder / shard_name(2)).unlink(),
        r"missing: \['shard-00002.safetensors'\]",
    ),
    "one more": (
        lambda folder: shutil.copy(folder / shard_name(0), folder / shard_name(4)),
        r"not in the manifest: \['shard-00004.safetensors'\]",
    ),
    "renamed": (
        lambda folder: (folder / shard_name(0)).rename(folder / "x.safetensors"),
        "missing.*not in the manifest",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_shards_that_are_not_those_of_the_manifest_are_refused(cache, vae, damage):
    do, match = DAMAGE[damage]
    do(cache)
    refused(cache, vae, match)


FORGED = {
    "no safetensors": lambda path: path.write_bytes(pickle.dumps([1])),
    "of another type": lambda path: save_file(
        {name: torch.zeros(SHARD, 4, 8, 8) for name in ("mean", "std")}, path
    ),
    "with a tensor more": lambda path: save_file(
        {name: torch.zeros(SHARD, 4, 8, 8).half() for name in ("mean", "std", "more")}, path
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_shard_that_its_manifest_vouches_for_is_looked_at_all_the_same(cache, vae, forged):
    FORGED[forged](cache / shard_name(1))
    digest = sha256_of(cache / shard_name(1))
    manifest = read_manifest(cache / MANIFEST)
    shards = (manifest.shards[0], digest, *manifest.shards[2:])
    vouched = replace(manifest, shards=shards)
    write_manifest(vouched, cache / MANIFEST)
    refused(cache, vae, "not a safetensors file|must hold")


@pytest.mark.parametrize("name", [None, UNFINISHED])
def test_without_a_manifest_nothing_is_read(cache, vae, name):
    (cache / MANIFEST).rename(cache / (name or "kept"))
    match = "has not ended" if name else "has no manifest.json"
    with pytest.raises(FileNotFoundError, match=match):
        posteriors.CachedPosteriors(cache, vae, MADE)


# Builds.


class Stopping:
    """Pictures of which one cannot be read."""

    def __init__(self, pictures, stop):
        self.pictures, self.stop = pictures, stop

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        if index == self.stop:
            raise OSError(f"picture {index}")
        return self.pictures[index]


@pytest.mark.parametrize("stop", range(ITEMS))
def test_a_stopped_build_goes_on_and_ends_in_the_same_bytes(
    whole, vae, pictures, tmp_path, encoded, stop
):
    with pytest.raises(OSError, match=f"picture {stop}"):
        posteriors.build(vae, Stopping(pictures, stop), tmp_path, MADE, **SIZES)
    kept = stop // SHARD * SHARD
    # Whole shards, and batches of the next one before that with the picture.
    assert sum(encoded) == kept + (stop - kept) // BATCH * BATCH
    assert not (tmp_path / MANIFEST).exists()
    encoded.clear()
    posteriors.build(vae, pictures, tmp_path, MADE, **SIZES)
    assert sum(encoded) == ITEMS - kept
    assert contents(tmp_path) == contents(whole)
    encoded.clear()
    posteriors.build(vae, pictures, tmp_path, MADE, **SIZES)
    assert not encoded and contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("damage", ["cut off", "a bit flipped", "missing", "swapped"])
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "stopped"])
def test_a_build_encodes_only_shards_that_are_not_whole(
    whole, cache, vae, pictures, encoded, damage, ended
):
    if not ended:
        (cache / MANIFEST).rename(cache / UNFINISHED)
    DAMAGE[damage][0](cache)
    posteriors.build(vae, pictures, cache, MADE, **SIZES)
    assert sum(encoded) == SHARD * (2 if damage == "swapped" else 1)
    assert contents(cache) == contents(whole)


def test_shards_may_be_read_by_whom_the_manifest_may(whole):
    assert len({path.stat().st_mode for path in whole.iterdir()}) == 1


def test_a_build_leaves_the_global_generator_as_it_is(vae, pictures, tmp_path):
    before = torch.get_rng_state()
    posteriors.build(vae, pictures, tmp_path, MADE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"items": 9}, "items 10 there, 9 here"), ({"shard_size": 4}, "shard_size 3 there, 4 here"),
     ({"made": "flipped"}, "the preprocessing"), ({"bare": True}, "and no manifest")],
    ids=str,
)  # fmt: skip
def test_a_build_writes_over_no_other(cache, vae, pictures, changes, match):
    if "bare" in changes:
        (cache / MANIFEST).unlink()
    before = contents(cache)
    made, size = changes.get("made", MADE), changes.get("shard_size", SHARD)
    with pytest.raises(ValueError, match=match):
        posteriors.build(vae, pictures[: changes.get("items")], cache, made, BATCH, size)
    assert contents(cache) == before


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "stopped"])
@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "whole"])
def test_a_build_takes_no_other_pictures_for_those_it_has(
    cache, vae, pictures, encoded, ended, damaged
):
    if not ended:
        (cache / MANIFEST).rename(cache / UNFINISHED)
    if damaged:
        cut(cache)
    before, other = contents(cache), pictures.clone()
    other[7, 0, 0, 0] *= -1
    with pytest.raises(ValueError, match=r"pictures 6 to 8 are not those .* shard-00002"):
        posteriors.build(vae, other, cache, MADE, **SIZES)
    assert not encoded and contents(cache) == before


def test_pictures_with_ids_are_told_apart_by_them(vae, pictures, tmp_path, encoded):
    names = [f"picture {number}" for number in range(ITEMS)]

    def build(ids, pictures=pictures):
        return posteriors.build(vae, pictures, tmp_path, MADE, **SIZES, ids=ids)

    with pytest.raises(OSError, match="picture 7"):
        build(names, Stopping(pictures, 7))
    encoded.clear()
    build(names, Stopping(pictures, 0))  # a shard that is kept is not read
    assert sum(encoded) == ITEMS - 2 * SHARD
    for ids in ([*names[:4], "other", *names[5:]], None):
        with pytest.raises(ValueError, match=r"pictures \d to \d are not those"):
            build(ids)
    with pytest.raises(ValueError, match="an id for each of 10 pictures, got 9"):
        build(names[1:])
    with pytest.raises(TypeError, match="ids must be a list of texts"):
        build([*range(ITEMS)])


def test_a_full_disk_is_told_of_and_a_build_goes_on_with_room(
    whole, vae, pictures, tmp_path, encoded
):
    size = (whole / shard_name(0)).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
        with pytest.raises(OSError, match=r"shard-00000.safetensors cannot be written: .*go"):
            posteriors.build(vae, pictures, tmp_path, MADE, **SIZES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not contents(tmp_path)
    posteriors.build(vae, pictures, tmp_path, MADE, **SIZES)
    assert contents(tmp_path) == contents(whole)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_encoded(
    vae, pictures, tmp_path, encoded
):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "within"):
        with pytest.raises(OSError, match=r"cannot be written to: .*choose another folder"):
            posteriors.build(vae, pictures, folder, MADE)
    assert not encoded


BAD = {
    "bytes": (lambda x: (x * 255).byte(), TypeError, "floating point tensor"),
    "0 to 255": (lambda x: (x + 1) * 127.5, ValueError, r"in \[-1, 1\], got 0\."),
    "not a number": (lambda x: x * torch.nan, ValueError, r"in \[-1, 1\], got nan"),
    "with labels": (lambda x: [(row, 1) for row in x], TypeError, "the pictures alone"),
    "of two shapes": (lambda x: [x[0], x[0, :, :8]], ValueError, "of one shape"),
    "of shapes in turn": (lambda x: [*x[:3], x[3, :, :8]], ValueError, "latents must be of one"),
    "none": (lambda x: x[:0], ValueError, "items must be from 1"),
    "endless": (iter, TypeError, "must have a length"),
}


@pytest.mark.parametrize("kind", BAD)
def test_pictures_that_cannot_be_encoded_are_refused(vae, pictures, tmp_path, kind):
    spoil, error, match = BAD[kind]
    with pytest.raises(error, match=match):
        posteriors.build(vae, spoil(pictures), tmp_path, MADE, **SIZES)
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("bias", [1e5, torch.nan])
def test_what_half_precision_does_not_hold_is_refused(pictures, tmp_path, bias):
    vae = make_vae()
    vae.quant_conv.bias.data[0] = bias
    with pytest.raises(ValueError, match=r"the mean of a posterior is .*float16 does not hold"):
        posteriors.build(vae, pictures, tmp_path, MADE)
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    "made", [5, None, {1, 2}, {"size": object()}, {"size": torch.inf}], ids=range(5)
)
def test_preprocessing_is_a_text_or_an_object_of_json(vae, pictures, tmp_path, made):
    with pytest.raises(TypeError, match="preprocessing must be"):
        posteriors.build(vae, pictures, tmp_path / "new", made)
    assert not (tmp_path / "new").exists()
