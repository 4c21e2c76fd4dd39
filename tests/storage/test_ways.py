"""Ways of holding a tensor: how many bytes, how near, and nothing of another row of the batch."""

import pytest
import torch

from frdiff.storage import Chain, EightBit, Half, Kind, LowRank, nbytes_of

PICTURE, TOKENS, ROWS = (2, 8, 6, 5), (2, 30, 8), (2, 16)
WAYS = {
    "half": Chain(Half()),
    "int8": Chain(EightBit()),
    "low rank": Chain(LowRank(0.25)),
    "low rank, half": Chain(LowRank(0.5), Half()),
    "low rank, int8": Chain(LowRank(0.5), EightBit()),
    "plain": Chain(),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
every_kind = pytest.mark.parametrize("shape", [PICTURE, TOKENS, ROWS, (4,), ()], ids=str)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)


def made(shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@every_way
@every_kind
@types
def test_parts_are_of_the_kinds_foretold(way, shape, dtype):
    tensor = made(shape, dtype)
    kind = Kind.of(tensor)
    parts = way.store(tensor)
    assert tuple(map(Kind.of, parts)) == way.parts(kind)
    assert sum(part.nbytes for part in parts) == nbytes_of(way, kind) <= tensor.nbytes
    restored = way.restore(parts, kind)
    assert Kind.of(restored) == kind and restored.isfinite().all()


@every_way
@pytest.mark.parametrize("shape", [PICTURE, TOKENS], ids=str)
def test_a_row_does_not_depend_on_the_others(way, shape):
    tensor = made(shape)
    other = torch.cat([tensor[:1], 1000 * made(shape, seed=1)[1:]])
    first, second = (way.restore(way.store(one), Kind.of(one))[0] for one in (tensor, other))
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize(
    ("way", "shape", "nbytes"),
    [
        (Half(), PICTURE, 2 * 2 * 8 * 30 + 2 * 4),
        (EightBit(), PICTURE, 2 * 8 * 30 + 2 * 8 * 4),
        (EightBit(), TOKENS, 2 * 30 * 8 + 2 * 8 * 4),
        (LowRank(0.25), PICTURE, 2 * 2 * (8 + 30) * 4),
        (LowRank(0.9), PICTURE, 2 * 8 * 30 * 4),  # two such matrices would be no smaller
    ],
)
def test_bytes_by_hand(way, shape, nbytes):
    assert nbytes_of(way, Kind(torch.Size(shape), torch.float32)) == nbytes


def test_half_rounds_to_11_bits_and_scales_what_is_beyond_float16():
    tensor = made(PICTURE)
    restored = Half().restore(Half().store(tensor), Kind.of(tensor))
    assert torch.equal(restored, tensor.half().float())
    large = tensor * 1e7
    restored = Half().restore(Half().store(large), Kind.of(large))
    assert ((restored - large).abs() <= large.abs() * 2**-11 + 1e3).all()


def test_eight_bits_are_within_half_a_level_of_their_channel():
    tensor = made(PICTURE)
    tensor[:, 3] = 0
    restored = EightBit().restore(EightBit().store(tensor), Kind.of(tensor))
    level = tensor.abs().amax((2, 3), keepdim=True) / 127
    assert ((restored - tensor).abs() <= level * 0.501).all()
    assert (restored[:, 3] == 0).all()


@pytest.mark.parametrize("shape", [PICTURE, TOKENS], ids=str)
def test_low_rank_keeps_a_matrix_of_that_rank(shape):
    way, kind = LowRank(0.25), Kind(torch.Size(shape), torch.float32)
    count, first = shape[:2]
    rest = kind.shape[2:].numel()
    rank = -(-min(first, rest) // 4)
    tensor = (made((count, first, rank)) @ made((count, rank, rest), seed=1)).reshape(shape)
    assert torch.allclose(way.restore(way.store(tensor), kind), tensor, atol=1e-4)
    # Of any other the best approximation of that rank, by Eckart and Young.
    tensor = made(shape)
    missed = way.restore(way.store(tensor), kind) - tensor
    left = torch.linalg.svdvals(tensor.flatten(2))[:, rank:]
    assert torch.allclose(missed.flatten(1).norm(dim=1), left.norm(dim=1), rtol=1e-3)


def test_low_rank_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    LowRank(0.5).store(made(PICTURE))
    assert torch.equal(torch.rand(3), expected)
