import pytest

from frdiff.bench.claims import judge_claims
from made_results import distribution, fidelity

PAPER = "paper, DDIM 50"
FULL = fidelity("fewer steps, DDIM", "50 steps", 200, 50.0)


def verdict(number, results, distributions=()):
    return judge_claims(results, distributions)[number].verdict


def test_nothing_measured_nothing_claimed():
    assert {claim.verdict for claim in judge_claims([FULL], [])} == {"not measured"}


@pytest.mark.parametrize(
    ("seconds", "frechet", "expected"),
    [
        (100, 1.05, "holds"),  # 2x, within the spread of 0.1
        (100, 1.2, "does not hold"),  # beyond the spread
        (160, 1.0, "does not hold"),  # 1.25x only
    ],
)
def test_without_loss_is_within_the_spread_of_the_full_run(seconds, frechet, expected):
    full = "fewer steps, DDIM"
    distributions = [
        distribution("fewer steps, DPM-Solver++", "25 steps", "full", 0.9),
        distribution("fewer steps, DPM-Solver++", "25 steps", "full, seeds B", 1.0),
        distribution(full, "50 steps", "claim", 1.0),
        distribution(PAPER, "interval 2", "claim", frechet),
    ]
    results = [FULL, fidelity(PAPER, "interval 2", 100, 40.0, seconds=seconds)]
    assert verdict(0, results, distributions) == expected


@pytest.mark.parametrize(
    ("mixed", "expected"), [(41.0, "holds"), (39.5, "in part"), (38.5, "does not hold")]
)
def test_mixing_is_compared_with_each_part_at_equal_macs(mixed, expected):
    # At 100 MACs reuse alone has 40 dB between its points, jumps alone 39.
    results = [
        FULL,
        fidelity(PAPER, "interval 2", 100, mixed),
        fidelity(PAPER, "interval 2, mixing False", 120, 42.0),
        fidelity(PAPER, "interval 3, mixing False", 80, 38.0),
        fidelity("jumps only, DDIM 50", "interval 2", 120, 41.0),
        fidelity("jumps only, DDIM 50", "interval 3", 80, 37.0),
    ]
    assert verdict(1, results) == expected


def test_shares_of_the_saving_add_up():
    # 50 steps of 4 MACs; 10 jumps save 40 of the 100 saved.
    results = [FULL, fidelity(PAPER, "interval 2", 100, 40.0, jumps=10)]
    assert "interval 2: 40% by jumps" in judge_claims(results, [])[5].evidence
