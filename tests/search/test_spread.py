"""Where steps lie: a power of the noise level is even in them, and the last may be lifted."""

import numpy as np
import pytest

from conftest import ddim, make_pipe
from frdiff.sampling import set_scheduler
from frdiff.search.schedules.spread import LIFTS, POWERS, STARTS, Spread, ranked_spreads

OWN = [2.0, 0.5, 0.0, -1.0, -3.0]


def powered(power, level):
    return level if power == 0 else np.exp(power * level)


@pytest.mark.parametrize("power", range(len(POWERS)))
@pytest.mark.parametrize("lift", range(len(LIFTS)))
def test_a_power_of_the_noise_level_is_even_between_ends(power, lift):
    levels = Spread(power, lift).levels(OWN)
    assert len(levels) == len(OWN) and (np.diff(levels) < 0).all()
    # A mean step of `OWN` is 5/4 long.
    assert (levels[0], levels[-1]) == pytest.approx((2, -3 + LIFTS[lift] * 5 / 4), abs=1e-6)
    strides = np.diff([powered(POWERS[power], level) for level in levels])
    assert strides == pytest.approx([strides[0]] * 4, rel=1e-5)


def test_levels_whose_seventh_root_is_even_are_those_of_karras():
    scheduler = set_scheduler(make_pipe(scheduler=ddim()), "dpm++karras")
    scheduler.set_timesteps(9)
    own = scheduler.sigmas[:-1].double().log().tolist()
    karras = Spread(POWERS.index(1 / 7), 0)
    assert karras.levels(own) == pytest.approx(own, abs=1e-5)
    assert karras.levels([own[0], *[0.0] * 7, own[-1]]) == pytest.approx(own, abs=1e-5)


def test_a_single_step_begins_where_it_did():
    assert Spread(1, 2).levels([1.5]) == [1.5]


def test_the_best_of_a_bowl_is_found_in_few_tries_and_comes_first():
    goal = (3, 4)
    tried = []

    def misses(spreads):
        tried.extend(spreads)
        return [(one.power - goal[0]) ** 2 + (one.lift - goal[1]) ** 2 for one in spreads]

    ranked = ranked_spreads(misses, 20)
    assert ranked[0] == Spread(*goal)
    assert len(tried) == len(set(tried)) == len(ranked) <= 20
    assert len(ranked_spreads(misses, 3)) == 3
    assert {*STARTS} <= {(spread.power, spread.lift) for spread in tried}


def test_where_nothing_can_be_followed_there_is_no_best():
    def only(known):
        return lambda spreads: [1.0 if spread in known else np.inf for spread in spreads]

    assert ranked_spreads(only([]), 20) == []
    ranked = ranked_spreads(only([Spread(*STARTS[2])]), 7)
    assert ranked == [Spread(*STARTS[2])]
