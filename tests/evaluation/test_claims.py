import pytest

from frdiff.evaluation.results.claims import judge_claims
from frdiff.evaluation.suites import DIFFUSION
from made_results import distribution, fidelity

PAPER = "paper, DDIM 50"
FULL = fidelity("fewer steps, DDIM", "50 steps", 200, 50.0)


def verdict(number, results, distributions=()):
    return judge_claims(results, distributions, DIFFUSION.paper_on)[number].verdict


def test_nothing_measured_nothing_claimed():
    assert {claim.verdict for claim in judge_claims([FULL], [], DIFFUSION.paper_on)} == {
        "not measured"
    }


@pytest.mark.parametrize(
    ("seconds", "frechet", "expected"),
    [
        (100, 1.05, "holds"),  # 2x, within the spread of 0.1
        (100, 1.2, "does not hold"),  # beyond the spread
        (120, 1.0, "does not hold"),  # 1.67x only
    ],
)
def test_without_loss_is_within_the_spread_of_the_full_run(seconds, frechet, expected):
    full = "fewer steps, DDIM"
    distributions = [
        distribution("fewer steps, DPM-Solver++", "25 steps", "full", 0.9),
        distribution("fewer steps, DPM-Solver++", "25 steps", "full, seeds B", 1.0),
        distribution("fewer steps, DPM-Solver++", "25 steps", "full, seeds C", 0.95),
        distribution(full, "50 steps", "claim", 1.0),
        distribution(PAPER, "interval 2", "claim", frechet),
    ]
    results = [FULL, fidelity(PAPER, "interval 2", 100, 40.0, seconds=seconds)]
    assert verdict(0, results, distributions) == expected
    # A distribution whose method has lost its other file decides nothing.
    assert verdict(0, [FULL], distributions) == "not measured"


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
    assert verdict(1, results[:4]) == "not measured"


def test_beyond_its_dearest_setting_a_curve_goes_on_to_the_full_run():
    # conv1 at 150 of 200 MACs; whole residuals have 40 dB at 100, the full run 50 at 200: 45.
    def judged(conv1):
        return judge_claims(
            [
                FULL,
                fidelity(PAPER, "interval 2, mixing False", 150, conv1),
                fidelity(PAPER, "interval 2, mixing False, targets residual", 100, 40.0),
            ],
            [],
            DIFFUSION.paper_on,
        )[4]

    assert judged(44.0).verdict == "does not hold" and "MACs: -1.0 dB" in judged(44.0).evidence
    assert judged(46.0).verdict == "holds" and "+6.0 dB" in judged(46.0).evidence


def test_a_claim_of_cost_and_quality_needs_both():
    def bias(macs, psnr):
        low = fidelity(PAPER, "interval 2, bias 0.3", macs, psnr)
        return verdict(2, [FULL, low, fidelity(PAPER, "interval 2", 100, 40.0)])

    assert bias(120, 41.0) == "holds"
    assert bias(90, 41.0) == bias(120, 39.0) == "in part"


def test_shares_of_the_saving_add_up():
    # 50 steps of 4 MACs; 10 jumps save 40 of the 100 saved.
    results = [FULL, fidelity(PAPER, "interval 2", 100, 40.0, jumps=10)]
    assert "interval 2: 40% by jumps" in judge_claims(results, [], DIFFUSION.paper_on)[5].evidence
