"""Storage: in how few bytes a bank holds the features of keyframes. Each way is one file."""

from frdiff.policy.storage import Storage
from frdiff.storage.eight_bit import EightBit
from frdiff.storage.half import Half
from frdiff.storage.keeping import PLAIN, Keeping, Parts
from frdiff.storage.low_rank import LowRank
from frdiff.storage.offload import on_host, to_host
from frdiff.storage.ways import Chain, Kind, Way, nbytes_of

__all__ = [
    "PLAIN",
    "Chain",
    "EightBit",
    "Half",
    "Keeping",
    "Kind",
    "LowRank",
    "Parts",
    "Way",
    "keeping_of",
    "nbytes_of",
    "on_host",
    "to_host",
]


PRECISIONS: dict[str, tuple[Way, ...]] = {"full": (), "half": (Half(),), "int8": (EightBit(),)}


def keeping_of(storage: Storage | None, depth: int) -> Keeping:
    """How features of `depth` keyframes are held; None holds them as they are."""
    if storage is None or storage == Storage():
        return PLAIN
    newest = Chain(*PRECISIONS[storage.newest])
    if storage.changes is None or depth == 1:
        return Keeping(newest, offloads=storage.offload)
    low = () if storage.rank is None else (LowRank(storage.rank),)
    change = Chain(*low, *PRECISIONS[storage.changes])
    return Keeping(newest, change, offloads=storage.offload)
