"""Encode pictures once, and store the moments of their posteriors shard by shard."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
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

__all__ = ["build"]

MAX_BATCH = 2**16
SLACK = 1e-3  # of what rounds beyond [-1, 1]


def build(
    vae: nn.Module,
    pictures: Dataset[Tensor] | Sequence[Tensor] | Tensor,
    folder: str | Path,
    preprocessing: str | Mapping[str, Any],
    batch_size: int = 32,
    shard_size: int = 256,
    *,
    workers: int = 0,
) -> Manifest:
    """The manifest of posteriors that are in `folder` afterwards, encoded unless they are there.

    Means and standard deviations are stored in float16, which rounds them to 11 bits. A build that
    was stopped goes on after its last whole shard when it is called again; what it ends in is the
    same, byte for byte, if `batch_size` is. In memory is one shard at a time.

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
        workers: processes that load pictures; 0 loads them in this one.

    Raises:
        ValueError: the folder is of another VAE, preprocessing, number of pictures or shard size;
            pictures are out of range; or what the VAE makes of them does not fit float16.
        TypeError: pictures have no length, or are no floating point tensors.
    """
    check_int("batch_size", batch_size, 1, MAX_BATCH)
    if not hasattr(pictures, "__len__"):
        raise TypeError(f"pictures must have a length, got {quote(pictures)}")
    items = len(pictures)
    shards = (None,) * shard_count(items, shard_size)
    folder = Path(folder)
    begun = Manifest(Source.of(vae, preprocessing), items, shard_size, shards)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _resumed(folder, begun)

    batches = {
        number: [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        for number, rows in ((number, manifest.rows(number)) for number in manifest.missing)
    }
    loader = DataLoader(
        pictures,  # type: ignore[arg-type]
        batch_sampler=[list(batch) for rows in batches.values() for batch in rows],
        num_workers=workers,
        collate_fn=_batch_of,
        generator=torch.Generator(),  # leaves the global one as it is
    )
    err = Console(stderr=True)
    bar = track(loader, "encoding", console=err, transient=True, disable=not err.is_terminal)
    encoded = (_moments(vae, batch) for batch in bar)
    for number, rows in batches.items():
        manifest = _stored(folder, manifest, number, list(islice(encoded, len(rows))))
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
    if None in whole and path.name == MANIFEST:
        path.replace(folder / UNFINISHED)
    return replace(known, shards=whole)


def _is_there(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _batch_of(pictures: list[Any]) -> Tensor:
    """The pictures as a batch."""
    for picture in pictures:
        if not isinstance(picture, Tensor) or not picture.is_floating_point():
            raise TypeError(
                f"a picture must be a floating point tensor, got {quote(picture)}; where there is "
                "more in an item than a picture, give the pictures alone"
            )
        if picture.shape != pictures[0].shape:
            raise ValueError(
                f"pictures must be of one shape, got {[*picture.shape]} beside "
                f"{[*pictures[0].shape]}; make a cache for every shape"
            )
    batch = torch.stack(pictures)
    low, high = batch.min().item(), batch.max().item()
    if not -1 - SLACK <= low <= high <= 1 + SLACK:  # NaN is not, either
        raise ValueError(f"pictures must be in [-1, 1], got {low:g} to {high:g}")
    return batch


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
    folder: Path, manifest: Manifest, number: int, parts: list[dict[str, Tensor]]
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
    path = folder / shard_name(number)
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch()
    mode = temporary.stat().st_mode
    save_file({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, temporary)
    temporary.chmod(mode)  # safetensors lets only the owner read, whatever others may
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    shards = list(manifest.shards)
    shards[number] = sha256_of(temporary)
    manifest = replace(
        manifest, shards=tuple(shards), tensors=tuple(parts[0]), shape=next(iter(shapes))
    )
    # First what tells of the shard: a shard that nothing tells of could be anyone's.
    write_manifest(manifest, folder / UNFINISHED)
    temporary.replace(path)
    return manifest
