import math

import numpy as np
import pytest

from frdiff.policy import UniformPolicy
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure, decibels, middle, standard_error
from frdiff.search.subject import Batch, Drawn
from frdiff.setting import Setting


def test_decibels_by_closed_form():
    truth = np.zeros((3, 4, 4, 3))
    drawn = truth.copy()
    drawn[1] += 0.1
    drawn[2, 0, 0, 0] = np.nan
    # Mean squared error 0.01 at peak 1 is 20 dB.
    assert decibels(truth, drawn, 1.0) == pytest.approx([200, 20, -200])


def test_latents_are_measured_against_their_own_variance():
    truth = np.stack([np.array([1.0, -1.0]), np.array([10.0, -10.0])])
    assert decibels(truth, truth * 1.1, None) == pytest.approx([20, 20])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        decibels(np.zeros((1, 4)), np.zeros((1, 5)), 1.0)


def test_middle_is_a_quantile_that_outliers_do_not_move():
    values = list(range(101))
    assert middle(values) == pytest.approx(50)
    assert middle(values, 0.3) == pytest.approx(30)
    assert middle([*values[:-1], 1e9]) == pytest.approx(50)
    assert middle(values, 0.0) == pytest.approx(np.mean([0, 0, 0, 10, 20]))


def test_standard_error_of_the_median_of_a_normal_sample():
    values = np.random.default_rng(0).normal(40, 3, 20_000)
    assert standard_error(values) == pytest.approx(1.2533 * 3 / math.sqrt(20_000), rel=0.03)


def constant(level):
    """A setting whose samples are all `level` / 10, as far as the engine below is concerned."""
    return Setting(level, UniformPolicy(1))


def measure_with(asked, journal):
    def engine(jobs):
        for setting, batch in jobs:
            asked.append((setting.steps, batch.seed))
            samples = np.full((len(batch.prompts), 2), setting.steps / 10)
            yield Drawn(samples, samples)

    batches = [Batch(0, ("a", "b")), Batch(2, ("c",))]
    return Measure(engine, constant(0), batches, journal, "calibration", 1.0)


def test_each_setting_is_drawn_once_on_all_batches():
    asked = []
    measure = measure_with(asked, Journal(None, {}))
    first = measure([constant(1), constant(10), constant(1)])
    assert first == [pytest.approx((20, 20, 20)), pytest.approx((0, 0, 0)), first[0]]
    assert sorted(asked) == [(0, 0), (0, 2), (1, 0), (1, 2), (10, 0), (10, 2)]
    assert measure([constant(10)]) == [first[1]]
    assert len(asked) == 6
    assert len(measure.asked) == 2


def test_a_journal_answers_without_drawing_the_truth_again(tmp_path):
    asked = []
    path = tmp_path / "journal"
    found = measure_with(asked, Journal(path, {"seed": 1}))([constant(1)])
    asked.clear()
    assert measure_with(asked, Journal(path, {"seed": 1}))([constant(1)]) == found
    assert asked == []


@pytest.mark.parametrize("answer", ["", [1], ["1", "2"], [1, 1e9], None])
def test_hostile_answers_are_refused(answer):
    measure = measure_with([], Journal(None, {}))
    measure([constant(1)])
    question, _ = measure.journal
    measure.journal[question] = answer
    with pytest.raises((TypeError, ValueError), match="journal"):
        measure([constant(1)])


def test_a_glance_draws_the_first_batch_and_costs_its_share():
    asked = []
    measure = measure_with(asked, Journal(None, {}))
    assert measure.glance([constant(1)]) == [pytest.approx((20, 20))]
    assert sorted(asked) == [(0, 0), (0, 2), (1, 0)]
    assert measure.asked == {}
    # Two samples of three, and the truth, which is a run of all.
    assert measure.cost(lambda setting: 3.0) == pytest.approx(2 + 3)
    measure([constant(1)])
    assert (1, 0) == asked[2] and (1, 2) == asked[3]
    assert measure.cost(lambda setting: 3.0) == pytest.approx(3 + 3)
