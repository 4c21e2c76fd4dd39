"""Freedoms: no change makes the table itself, and each changes what it says."""

from dataclasses import replace

import numpy as np
import pytest

from frdiff.policy import TablePolicy
from frdiff.search.weights.freedoms import Freedoms, Kinds

LEVELS = [4.0, 3.0, 2.0, 1.0, 0.0]
KINDS = Kinds(LEVELS, samples=True)


def table():
    """Keyframes at steps 0, 2 and 3, jumps at 1 and 4."""
    rows = [(0,), (), (0,), (0,), ()]
    return TablePolicy(
        5,
        rows,
        mixing_weights=[float(bool(row)) for row in rows],
        score_weights=[[1.0], [1.0], [1.0], [1.0], [1.5, -0.5]],
        targets=(),
    )


def freedoms(kinds=KINDS, allowed=100.0):
    found = Freedoms.within(table(), kinds, allowed)
    assert found is not None
    return found


def changed(found, value=0.1, **place):
    values = np.zeros(len(found))
    for number, row in enumerate(found.places):
        if all(getattr(row, name) == wanted for name, wanted in place.items()):
            values[number] = value
    assert np.count_nonzero(values) == 1
    return found.policy(values)


def test_no_change_is_the_table_itself_with_its_levels():
    made = freedoms().policy(np.zeros(len(freedoms())))
    assert made.noise_levels == pytest.approx(LEVELS)
    assert made.sample_weights == (0.0,) * 5
    padded = [[*row, 0.0, 0.0, 0.0][:3] for row in table().score_weights]
    assert [[*row, 0.0, 0.0, 0.0][:3] for row in made.score_weights] == padded


def test_a_score_weight_changes_up_to_the_next_keyframe():
    made = changed(freedoms(), kind="score", key=3, age=1)
    assert made.score_weights[4][:2] == pytest.approx((1.5, -0.4))
    assert made.score_weights[3][:2] == pytest.approx((1.0, 0.1))
    assert made.score_weights[2][0] == 1.0


def test_a_sample_weight_does_so_too():
    assert changed(freedoms(), kind="sample", key=0).sample_weights == (0.1, 0.1, 0, 0, 0)


def test_a_guidance_weight_changes_at_its_keyframe_alone_where_the_table_has_some():
    rows = [0.5, 0.0, 0.1, 0.3, 0.0]
    found = Freedoms.within(replace(table(), guidance_weights=rows), KINDS, 100.0)
    made = changed(found, kind="guidance", key=0)
    assert made.guidance_weights == (0.6, 0.0, 0.1, 0.3, 0.0)
    assert "guidance" not in {row.kind for row in freedoms().places}


def test_a_level_moves_by_how_much_longer_the_steps_up_to_it_get():
    made = changed(freedoms(), np.log(2), kind="level", key=2)
    assert made.noise_levels == pytest.approx([4.0, 2.0, 0.0, -1.0, -2.0])


def test_levels_fall_whatever_is_learnt():
    found = freedoms()
    values = np.random.default_rng(0).normal(0, 3, len(found))
    levels = found.policy(np.clip(values, -20, 20)).noise_levels
    assert (np.diff(levels) < 0).all()


def test_what_a_look_costs_is_what_comes_after_each_change():
    found = freedoms()
    # Keyframes at 0, 2 and 3: after a weight of the first come two, then one, then none; a level
    # has its own keyframe computed anew.
    costs = {(row.kind, row.key): found.cost(i) for i, row in enumerate(found.places)}
    assert costs == {
        ("score", 0): 2,
        ("score", 2): 1,
        ("score", 3): 0,
        ("sample", 0): 2,
        ("sample", 2): 1,
        ("sample", 3): 0,
        ("level", 2): 2,
        ("level", 3): 1,
    }
    scores = 2 + 1 * 2 + 0 * 3
    assert found.look_cost == 3 + scores + 3 + 3


def test_less_is_looked_at_where_less_is_paid_for():
    few = freedoms(Kinds(), 3 + 2 + 1)
    assert [place.age for place in few.places] == [0, 0, 0]
    assert Freedoms.within(table(), Kinds(), 5.9) is None
    assert few.policy(np.zeros(3)).noise_levels is None
    assert few.policy(np.zeros(3)).sample_weights is None


def test_what_reuse_steps_need_is_computed_whatever_is_looked_at():
    rows = [(0,), (), (0,), (), (0,)]
    found = Freedoms.within(TablePolicy(5, rows, score_weights=[[1.0]] * 5), Kinds(), 100.0)
    known = {place.key: found.known(number) for number, place in enumerate(found.places)}
    # The features of keyframes 0 and 2 are extrapolated at step 3; no step reuses after the last.
    assert known == {0: 0, 2: 0, 4: 5}
