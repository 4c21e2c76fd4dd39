"""Encode pictures once, and store the moments of their posteriors shard by shard."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from frdiff.policy.checks import check_int, quote
from frdiff.posteriors.manifest import (
    MANIFEST,
    UNFINISHED,
    Manifest,
    Source,
    read_manifest,
    sha256_of,
    shard_count,
    shard_name,
    write_manifest,
)
from frdiff.posteriors.pictures import add_contents, batch_of, check_ids, digest_of_ids

__all__ = ["build"]

MAX_BATCH = 2**16


def build(
    vae: nn.Module,
    pictures: Dataset[Tensor] | Sequence[Tensor] | Tensor,
    folder: str | Path,
    preprocessing: str | Mapping[str, Any],
    batch_size: int = 32,
    shard_size: int = 256,
    *,
    ids: Sequence[str] | None = None,
    workers: int = 0,
) -> Manifest:
    """The manifest of posteriors that are in `folder` afterwards, encoded unless they are there.

    Means and standard deviations are stored in float16, which rounds them to 11 bits: of a
    posterior narrower than 2^-11 of its mean the rounding shows. A build that was stopped goes on
    after its last whole shard when it is called again; what it ends in is the same, byte for byte,
    if `batch_size` is. In memory is one shard at a time, and the bytes of its file. One process at
    a time builds in a folder.

    Args:
        vae: of diffusers, on the device and in the type in which it is to encode. One without a
            posterior, such as `AutoencoderTiny`, has its latents stored. Tiling changes what a VAE
            makes of a picture: say it in `preprocessing`.
        pictures: with a length; each a floating point tensor (C, H, W) in [-1, 1], or what else
            the VAE takes without its batch, such as (C, F, H, W). All of one shape, and the same
            whenever they are asked for: whoever flips some at random stores one flip for ever.
        folder: made if it is not there.
        preprocessing: a text or an object of JSON that says how the pictures were made; whoever
            reads must say the same.
        batch_size: pictures encoded at once.
        shard_size: pictures in a file.
        ids: a text for every picture, by which it is told from others. Without them the contents
            tell, so that a build called again reads all pictures, though it encodes none twice.
        workers: processes that load pictures; 0 loads them in this one.

    Raises:
        ValueError: the folder is of another VAE, preprocessing, shard size, or of other pictures;
            pictures are out of range; or what the VAE makes of them does not fit float16.
        TypeError: pictures have no length, or are no floating point tensors; ids are no texts.
        OSError: the folder cannot be written to, or the disk is full. Whole shards are kept.
    """
    check_int("batch_size", batch_size, 1, MAX_BATCH)
    if not hasattr(pictures, "__len__"):
        raise TypeError(f"pictures must have a length, got {quote(pictures)}")
    items = len(pictures)
    none = (None,) * shard_count(items, shard_size)
    check_ids(ids, items)
    folder = Path(folder)
    begun = Manifest(Source.of(vae, preprocessing), items, shard_size, none, none)
    manifest = _resumed(folder, begun)
    missing = set(manifest.missing)
    kept = [number for number in range(len(none)) if number not in missing]
    if ids is not None:
        for number in kept:
            _check_pictures(folder, manifest, number, digest_of_ids(ids, manifest.rows(number)))
    if missing:
        _check_writable(folder)

    # Kept shards come first: nothing is encoded beside pictures that are not theirs.
    batches = {
        number: [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        for number in (*(kept if ids is None else ()), *manifest.missing)
        for rows in [manifest.rows(number)]
    }
    loader = DataLoader(
        pictures,  # type: ignore[arg-type]
        batch_sampler=[list(batch) for rows in batches.values() for batch in rows],
        num_workers=workers,
        collate_fn=batch_of,
        generator=torch.Generator(),  # leaves the global one as it is
    )
    err = Console(stderr=True)
    bar = track(loader, "encoding", console=err, transient=True, disable=not err.is_terminal)
    loaded = iter(bar)
    for number, rows in batches.items():
        contents, parts = hashlib.sha256(), []
        for batch in islice(loaded, len(rows)):
            add_contents(contents, batch)
            if number in missing:
                parts.append(_moments(vae, batch))
        told = contents.hexdigest()
        if ids is not None:
            told = digest_of_ids(ids, manifest.rows(number))
        if parts:
            manifest = _stored(folder, manifest, number, parts, told)
        else:
            _check_pictures(folder, manifest, number, told)
    if (folder / UNFINISHED).is_file():
        (folder / UNFINISHED).replace(folder / MANIFEST)
    return manifest


def _resumed(folder: Path, begun: Manifest) -> Manifest:
    """The manifest of what is in a folder, with the shards that are as it says."""
    path = folder / (UNFINISHED if (folder / UNFINISHED).is_file() else MANIFEST)
    if not path.is_file():
        if found := sorted(file.name for file in folder.glob("*.safetensors")):
            raise ValueError(
                f"{folder} holds {quote(found)}, and no manifest; build in an empty folder"
            )
        return begun
    known = read_manifest(path)
    known.source.check_same(begun.source, path)
    for name in ("items", "shard_size"):
        there, here = getattr(known, name), getattr(begun, name)
        if there != here:
            raise ValueError(
                f"{path} is of other posteriors: {name} {there} there, {here} here; "
                "build in another folder, or delete this one"
            )
    whole = tuple(
        digest if digest is not None and _is_there(folder / shard_name(number), digest) else None
        for number, digest in enumerate(known.shards)
    )
    told = tuple(a and b for a, b in zip(whole, known.pictures, strict=True))
    return replace(known, shards=whole, pictures=told)


def _is_there(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _check_pictures(folder: Path, manifest: Manifest, number: int, told: str) -> None:
    """Refuse other pictures than those that a shard was made of."""
    if manifest.pictures[number] != told:
        rows = manifest.rows(number)
        raise ValueError(
            f"{folder} is of other posteriors: pictures {rows[0]} to {rows[-1]} are not those that "
            f"{shard_name(number)} was made of, by their ids or contents; build in another folder, "
            "or delete this one"
        )


def _check_writable(folder: Path) -> None:
    """Make the folder, and refuse it where nothing can be written there."""
    probe = folder / "probe.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{folder} cannot be written to: {error}; choose another folder") from error


@torch.no_grad()
def _moments(vae: Any, batch: Tensor) -> dict[str, Tensor]:
    """What is stored of a batch, by name."""
    weight = next(vae.parameters())
    output = vae.encode(batch.to(weight.device, weight.dtype))
    found = _parts_of(output)
    if not all(isinstance(value, Tensor) for value in found.values()):
        raise TypeError(
            f"{type(vae).__name__}.encode must return a latent_dist with mean and std, or latents; "
            f"got {type(output).__name__}"
        )
    return {name: _half(name, value) for name, value in found.items()}


def _parts_of(output: Any) -> dict[str, Any]:
    """The moments in what a VAE returns, or its latent."""
    if hasattr(output, "latent_dist"):
        posterior = output.latent_dist
        if hasattr(posterior, "std"):
            return {"mean": posterior.mean, "std": posterior.std}
        return {"latent": posterior.mode()}  # Cosmos' discrete kind, which is sure of itself
    return {"latent": getattr(output, "latents", getattr(output, "latent", None))}


def _half(name: str, value: Tensor) -> Tensor:
    half = value.to(torch.float16)
    if not half.isfinite().all():
        most = value.abs().max().item()
        raise ValueError(
            f"the {name} of a posterior is {most:g}, which float16 does not hold (65504 at most); "
            "a VAE that overflows in half precision encodes in float32"
        )
    return half.cpu().contiguous()  # a mean is half of a tensor


def _stored(
    folder: Path, manifest: Manifest, number: int, parts: list[dict[str, Tensor]], told: str
) -> Manifest:
    """The manifest with one shard more, which is in the folder."""
    shapes = {tuple(value.shape[1:]) for part in parts for value in part.values()}
    if manifest.shape is not None:
        shapes.add(manifest.shape)
    if len(shapes) > 1:
        raise ValueError(
            f"latents must be of one shape, got {sorted(shapes)} up to picture "
            f"{manifest.rows(number)[-1]}; make a cache for every shape of pictures"
        )
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    path = folder / shard_name(number)
    temporary = path.with_suffix(".tmp")
    try:
        digest = _written(tensors, temporary)
        shards, pictures = list(manifest.shards), list(manifest.pictures)
        shards[number], pictures[number] = digest, told
        manifest = replace(
            manifest,
            shards=tuple(shards),
            pictures=tuple(pictures),
            tensors=tuple(tensors),
            shape=next(iter(shapes)),
        )
        # First what tells of the shard: a shard that nothing tells of could be anyone's.
        write_manifest(manifest, folder / UNFINISHED)
        (folder / MANIFEST).unlink(missing_ok=True)  # where a shard was found damaged
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written: {error}; make room or let it be written, and build again, "
            "which goes on after the last whole shard"
        ) from error
    return manifest


def _written(tensors: dict[str, Tensor], path: Path) -> str:
    """The SHA-256 of a new file, which is on the disk."""
    # Not by save_file: it has a temporary of its own, which stays if it is killed.
    content = save(tensors)
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()
