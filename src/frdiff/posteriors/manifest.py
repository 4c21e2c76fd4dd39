"""The manifest of cached posteriors: what the shards beside it hold, and of what; never trusted."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from frdiff.network.denoisers import weights_hash
from frdiff.policy.checks import built, check_int, checked_list, quote

__all__ = [
    "MANIFEST",
    "UNFINISHED",
    "Manifest",
    "Source",
    "read_manifest",
    "sha256_of",
    "shard_count",
    "shard_name",
    "write_manifest",
]

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"

FILE_VERSION = 1
MAX_FILE_BYTES = 4_000_000
MAX_ITEMS = 10**9
MAX_SHARDS = 2**15  # each is a mapping of memory, of which Linux allows 65,530
MAX_SIZE = 2**20
MAX_DIMENSIONS = 5
DTYPE = "float16"
KINDS = (("mean", "std"), ("latent",))
WEIGHTS = re.compile(r"[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")
DECODES = ("decoder", "post_quant_conv")


@dataclass(frozen=True)
class Source:
    """Of what posteriors are.

    Attributes:
        vae_weights: hash of the weights of the VAE, but for those that only decode.
        vae_config: hash of its class and configuration.
        preprocessing: what was done to the pictures, a text or an object of JSON.
    """

    vae_weights: str
    vae_config: str
    preprocessing: str | dict[str, Any]

    def __post_init__(self) -> None:
        _check_hash("vae_weights", self.vae_weights, WEIGHTS)
        _check_hash("vae_config", self.vae_config, SHA256)
        if not isinstance(self.preprocessing, str | dict):
            raise TypeError(
                f"preprocessing must be a text or an object, got {quote(self.preprocessing)}"
            )

    @classmethod
    def of(cls, vae: nn.Module, preprocessing: str | Mapping[str, Any]) -> "Source":
        """That of a VAE and what its pictures went through.

        Raises:
            TypeError: preprocessing is no text and no mapping, or JSON cannot hold it.
        """
        plain = dict(preprocessing) if isinstance(preprocessing, Mapping) else preprocessing
        try:
            plain = json.loads(json.dumps(plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TypeError(f"preprocessing must be something that JSON holds: {error}") from error
        parts = {name: part for name, part in vae.named_children() if name not in DECODES}
        config: Any = vae.config
        # Names that begin with _ say where a model came from and which diffusers wrote it.
        said = {name: config[name] for name in sorted(config) if not name.startswith("_")}
        text = json.dumps([type(vae).__name__, said], default=str)
        return cls(
            weights_hash([nn.ModuleDict(parts)]),
            hashlib.sha256(text.encode()).hexdigest(),
            plain,
        )

    def check_same(self, wanted: "Source", path: Path) -> None:
        """Refuse posteriors of another source than the wanted one.

        Raises:
            ValueError: another VAE, or other preprocessing; the text says which.
        """
        differ = []
        if self.vae_weights != wanted.vae_weights:
            differ.append("the weights of the VAE's encoder")
        if self.vae_config != wanted.vae_config:
            differ.append("the class or configuration of the VAE")
        if self.preprocessing != wanted.preprocessing:
            there, here = quote(self.preprocessing), quote(wanted.preprocessing)
            differ.append(f"the preprocessing ({there} there, {here} here)")
        if differ:
            raise ValueError(
                f"{path} is of other posteriors, which differ in {' and '.join(differ)}; "
                "build them in another folder, or delete this one"
            )


@dataclass(frozen=True)
class Manifest:
    """What the shards in a folder hold.

    Attributes:
        source: of what the posteriors are.
        items: number of pictures.
        shard_size: pictures in a shard, fewer in the last one.
        tensors: in each shard: `("mean", "std")`, or `("latent",)` where a VAE has no posterior.
            None before the first shard.
        shape: of one picture's latent, without the batch. None before the first shard.
        shards: SHA-256 of each shard's file; None of one that is still to be built.
        pictures: SHA-256 of the pictures in each shard, or of their ids where `build` was given
            those; None of one that is still to be built.
        dtype: of the tensors.
    """

    source: Source
    items: int
    shard_size: int
    shards: tuple[str | None, ...]
    pictures: tuple[str | None, ...]
    tensors: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    dtype: str = DTYPE

    def __post_init__(self) -> None:
        count = shard_count(self.items, self.shard_size)
        if self.dtype != DTYPE:
            raise ValueError(f"dtype must be {DTYPE!r}, got {quote(self.dtype)}")
        for name in ("shards", "pictures"):
            digests = tuple(checked_list(name, getattr(self, name)))
            if len(digests) != count:
                raise ValueError(f"{name} must be {count}, got {len(digests)}")
            for known in digests:
                if known is not None:
                    _check_hash(f"a SHA-256 in {name}", known, SHA256)
            object.__setattr__(self, name, digests)
        if any((a is None) != (b is None) for a, b in zip(self.shards, self.pictures, strict=True)):
            raise ValueError("shards and pictures must tell of the same ones")
        if not any(self.shards) and self.tensors is None and self.shape is None:
            return
        object.__setattr__(self, "tensors", tuple(checked_list("tensors", self.tensors)))
        if self.tensors not in KINDS:
            allowed = " or ".join(str(list(kind)) for kind in KINDS)
            raise ValueError(f"tensors must be {allowed}, got {quote(self.tensors)}")
        shape = tuple(checked_list("shape", self.shape))
        check_int("the number of dimensions in shape", len(shape), 1, MAX_DIMENSIONS)
        for size in shape:
            check_int("a size in shape", size, 1, MAX_SIZE)
        object.__setattr__(self, "shape", shape)

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are still to be built."""
        return [number for number, known in enumerate(self.shards) if known is None]

    @property
    def content(self) -> str | None:
        """SHA-256 of all that is stored, by those of the shards; None while some are missing."""
        if self.missing:
            return None
        return hashlib.sha256("\n".join(map(str, self.shards)).encode()).hexdigest()

    def rows(self, number: int) -> range:
        """The pictures in a shard."""
        start = number * self.shard_size
        return range(start, min(start + self.shard_size, self.items))


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Nothing in the file is trusted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too large, not JSON, of another version, or with fields unknown, missing or out
            of range; the text names the file and the field.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a manifest has at most {MAX_FILE_BYTES} bytes, got {size}")
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or "frdiff_posteriors" not in content:
            raise ValueError('the top level must be an object with the key "frdiff_posteriors"')
        version = content.pop("frdiff_posteriors")
        if version != FILE_VERSION or isinstance(version, bool):
            raise ValueError(
                f"file version {quote(version)} is not supported, this frdiff reads {FILE_VERSION}"
            )
        missing = {"content", "dtype"} - content.keys()
        if missing:
            raise ValueError(f"fields missing: {sorted(missing)}")
        whole = content.pop("content")
        source = built(Source, "source", content.get("source"))
        manifest: Manifest = built(Manifest, "a manifest", content | {"source": source})
        if whole != manifest.content:
            raise ValueError(
                f"content is {quote(whole)}, but that of these shards {manifest.content}"
            )
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a valid manifest of posteriors: {error}") from error
    return manifest


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest whole: whoever reads finds it as it was or as it is."""
    content = {"frdiff_posteriors": FILE_VERSION, **asdict(manifest), "content": manifest.content}
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def shard_count(items: int, shard_size: int) -> int:
    """How many shards hold so many pictures; a ValueError where they would be too many."""
    check_int("items", items, 1, MAX_ITEMS)
    check_int("shard_size", shard_size, 1, MAX_SIZE)
    count = -(-items // shard_size)
    if count > MAX_SHARDS:
        raise ValueError(
            f"shards of {shard_size} would be {count}, more than {MAX_SHARDS}; "
            "take a larger shard_size"
        )
    return count


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:05d}.safetensors"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_hash(name: str, value: object, form: re.Pattern[str]) -> None:
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise ValueError(f"{name} must be digits {form.pattern}, got {quote(value)}")
