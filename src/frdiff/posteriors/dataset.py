"""Latents drawn from cached posteriors, as a dataset for training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import Dataset

from frdiff.policy.checks import quote
from frdiff.posteriors.manifest import (
    MANIFEST,
    UNFINISHED,
    Manifest,
    Source,
    read_manifest,
    sha256_of,
    shard_name,
)

__all__ = ["CachedPosteriors"]

WHOLE = (torch.int64, torch.int32)
SCALE_WHILE_ENCODING = ("AutoencoderRAE",)  # what their configuration says is done already


class CachedPosteriors(Dataset[Any]):
    """A latent per picture, drawn from its posterior whenever it is asked for.

    `dataset[i]` is float32 of the shape of a latent, as a denoiser is trained on it:
    `(z - shift) * scale` with the VAE's `shift_factor` and `scaling_factor`, or its `latents_mean`
    and `latents_std` where it has those. Draws come from torch's global generator, so that seeds
    and the workers of a `DataLoader` do what they do elsewhere. Of a VAE without a posterior it is
    the same latent every time.

    All shards are read once here, to compare their SHA-256; afterwards they are mapped into memory
    when they are first needed. Copies in other processes map them anew.

    Args:
        folder: in which `build` has written.
        vae: that encoded it, with the same weights in the same type; on any device.
        preprocessing: that was given to `build`.
        scaled: False gives latents as the VAE decodes them.
        labels: what belongs to each picture, in the order in which they were encoded. With them
            `dataset[i]` is a latent and its label.

    Attributes:
        manifest: what the folder holds.

    Raises:
        FileNotFoundError: no such folder, or nothing built in it.
        ValueError: another VAE or preprocessing; a manifest that is not valid; a shard that is
            missing, too many, or not as the manifest says; a VAE that says nothing of its scale;
            another number of labels than of pictures.
    """

    def __init__(
        self,
        folder: str | Path,
        vae: nn.Module,
        preprocessing: str | Mapping[str, Any],
        *,
        scaled: bool = True,
        labels: Sequence[Any] | Tensor | None = None,
    ) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            begun = (self.folder / UNFINISHED).is_file()
            said = "holds a build that has not ended" if begun else f"has no {MANIFEST}"
            raise FileNotFoundError(f"{self.folder} {said}; call frdiff.posteriors.build")
        self.manifest = read_manifest(path)
        self.manifest.source.check_same(Source.of(vae, preprocessing), path)
        if self.manifest.shape is None or self.manifest.missing:
            raise ValueError(f"{path} tells of shards that are still to be built; build again")
        if labels is not None and len(labels) != len(self):
            raise ValueError(f"labels must be {len(self)}, one a picture, got {len(labels)}")
        self.labels = labels
        plain = torch.zeros(1), torch.ones(1)
        self._shift, self._scale = _scaling(vae, self.manifest.shape) if scaled else plain
        _check_shards(self.folder, self.manifest)
        self._mapped: dict[int, list[Tensor]] = {}

    def __len__(self) -> int:
        return self.manifest.items

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """A latent per index, and its label; a `DataLoader` asks for its batches so."""
        latents = list(self.sample(indices))
        if self.labels is None:
            return latents
        return [(z, self.labels[index]) for z, index in zip(latents, indices, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_mapped": {}}

    def sample(
        self, indices: Sequence[int] | Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """A batch of latents with shape (N, ...).

        Args:
            indices: one or more numbers of pictures; negative ones count from the end.
            generator: on the CPU; None draws from torch's global one.

        Raises:
            IndexError: no such picture.
            TypeError: no numbers of pictures, such as a mask.
        """
        numbers = torch.as_tensor(indices)
        if numbers.dtype not in WHOLE or numbers.ndim != 1 or not len(numbers):
            raise TypeError(f"indices must be whole numbers, one or more, got {quote(indices)}")
        places = [self._place(index) for index in numbers.tolist()]
        moments = zip(*(self._moments(*place) for place in places), strict=True)
        center, *spread = (torch.stack(rows).float() for rows in moments)
        for std in spread:
            center += std * torch.randn(std.shape, generator=generator)
        return (center - self._shift) * self._scale

    def _place(self, index: int) -> tuple[int, int]:
        """The shard of a picture, and its row there."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} pictures, got index {index}")
        return divmod(index % len(self), self.manifest.shard_size)

    def _moments(self, number: int, row: int) -> list[Tensor]:
        if number not in self._mapped:
            with safe_open(self.folder / shard_name(number), "pt") as shard:
                names = self.manifest.tensors or ()
                self._mapped[number] = [shard.get_tensor(name) for name in names]
        return [tensor[row] for tensor in self._mapped[number]]


def _scaling(vae: Any, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The shift and scale of latents, which broadcast with (N, C, ...)."""
    if type(vae).__name__ in SCALE_WHILE_ENCODING:
        return torch.zeros(1), torch.ones(1)
    # LTX keeps them as buffers.
    config = dict(vae.named_buffers(recurse=False)) | dict(vae.config)
    mean, std = config.get("latents_mean"), config.get("latents_std")
    factor = config.get("scaling_factor")
    if mean is not None and std is not None:
        shift, scale = (
            torch.as_tensor(mean),
            (1.0 if factor is None else factor) / torch.as_tensor(std),
        )
    elif factor is not None:
        shift, scale = torch.tensor(config.get("shift_factor") or 0.0), torch.tensor(factor)
    else:
        raise ValueError(
            f"the configuration of {type(vae).__name__} has neither scaling_factor nor "
            "latents_mean and latents_std; take scaled=False and scale its latents yourself"
        )
    form = (-1, *[1] * (len(shape) - 1))
    shift, scale = (value.detach().float().cpu().reshape(form) for value in (shift, scale))
    for value in (shift, scale):
        if len(value) not in (1, shape[0]):
            raise ValueError(f"latents have {shape[0]} channels, their scaling {len(value)}")
    return shift, scale


def _check_shards(folder: Path, manifest: Manifest) -> None:
    """Refuse shards that are not those of the manifest."""
    there = {path.name for path in folder.glob("*.safetensors")}
    named = [shard_name(number) for number in range(len(manifest.shards))]
    missing, extra = sorted({*named} - there), sorted(there - {*named})
    if missing or extra:
        raise ValueError(
            f"{folder}: shards missing: {quote(missing)}, not in the manifest: {quote(extra)}"
        )
    for number, (name, digest) in enumerate(zip(named, manifest.shards, strict=True)):
        path = folder / name
        if sha256_of(path) != digest:
            raise ValueError(
                f"{path} is not the shard that the manifest tells of: cut off, altered or "
                "swapped, by its SHA-256; delete it and build again, which encodes only this one"
            )
        _check_tensors(path, manifest, len(manifest.rows(number)))


def _check_tensors(path: Path, manifest: Manifest, rows: int) -> None:
    shape = [rows, *(manifest.shape or ())]
    wanted = {name: ("F16", shape) for name in manifest.tensors or ()}
    try:
        with safe_open(path, "pt") as shard:
            slices = {name: shard.get_slice(name) for name in shard.keys()}
            found = {name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    if found != wanted:
        raise ValueError(f"{path} must hold {wanted}, got {quote(found)}")
