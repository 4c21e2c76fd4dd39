"""Features of several keyframes held together."""

import pytest
import torch

from frdiff.bank.slot import Slot
from frdiff.policy import Storage
from frdiff.storage import PLAIN, Chain, EightBit, Half, Keeping, Kind, keeping_of

CHANGES = Keeping(Chain(Half()), Chain(EightBit()))
SHAPE = (2, 4, 6, 6)


def run_of(count, step=0.05):
    """Features that move a little from keyframe to keyframe, oldest first."""
    generator = torch.Generator().manual_seed(0)
    first, move = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    return [first + step * n * move for n in range(count)]


def filled(keeping, features, depth=3):
    slot = Slot(keeping)
    for feature in features:
        slot.history = slot.history[: depth - 1]  # as a keyframe makes room
        slot.store(..., (feature,))
        slot.commit(None, depth, depth)
    return slot


def values(slot):
    return [row[0] for row in slot.values(0, 1)]


def test_nothing_said_holds_features_as_they_are():
    assert keeping_of(None, 2) is PLAIN
    features = run_of(5)
    held = values(filled(PLAIN, features))
    assert all(one is other for one, other in zip(held, features[:1:-1], strict=True))


def test_changes_are_held_nearer_than_features_would_be_and_nothing_adds_up():
    features = run_of(40)
    held = values(filled(CHANGES, features))
    whole = EightBit().restore(EightBit().store(features[-2]), Kind.of(features[-2]))
    missed = [(one - other).abs().max() for one, other in zip(held, features[:-4:-1], strict=True)]
    # Of the newest what float16 rounds; of those before as much and half a level of each change.
    level = 0.05 * (features[1] - features[0]).abs().max() / 0.05 / 127
    assert missed[0] <= features[-1].abs().max() * 2**-11
    assert missed[1] <= missed[0] + level and missed[2] <= missed[0] + 2 * level
    assert missed[1] < (whole - features[-2]).abs().max() / 4


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("keeping", [PLAIN, CHANGES], ids=["plain", "changes"])
def test_a_step_takes_the_place_of_another(place, keeping):
    features = run_of(4)
    slot = filled(keeping, features[:3])
    slot.store(..., (features[3],))
    slot.commit(place, 3, 3)
    kept = [features[3], *[one for n, one in enumerate(features[2::-1]) if n != place]]
    for held, one in zip(values(slot), kept, strict=True):
        assert torch.allclose(held, one, atol=5e-3)


def test_bytes_while_and_after_a_step_are_those_foretold():
    features = run_of(4)
    slot = filled(CHANGES, features[:3])
    kind = Kind.of(features[0])

    def nbytes():
        rows = (slot.fresh or (), slot.followed, *slot.history)
        return sum(part.nbytes for row in rows for parts in row for part in parts)

    assert nbytes() == CHANGES.nbytes(kind, 3)
    slot.history = slot.history[:2]
    slot.store(..., (features[3],))
    assert nbytes() == CHANGES.nbytes(kind, 3)
    slot.commit(None, 3, 3)
    assert nbytes() == CHANGES.nbytes(kind, 3)


@pytest.mark.parametrize("keeping", [PLAIN, CHANGES], ids=["plain", "changes"])
def test_another_shape_begins_anew(keeping):
    slot = filled(keeping, run_of(3))
    slot.store(..., (torch.ones(1, 4, 2, 2),))
    assert slot.breaks
    slot.commit(None, 1, 1)
    assert [one.shape for one in values(slot)] == [(1, 4, 2, 2)]


def test_of_one_keyframe_there_are_no_changes():
    keeping = keeping_of(Storage("int8", "int8", 0.5), 1)
    assert keeping.change is None and keeping.newest.name == "int8"
