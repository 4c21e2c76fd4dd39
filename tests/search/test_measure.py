import math

import numpy as np
import pytest

from frdiff.engines import local_engine
from frdiff.policy import UniformPolicy
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure, decibels, middle, standard_error, worst_middle
from frdiff.search.subject import Batch, Drawn, work_on
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


def test_a_range_of_guidance_counts_by_what_each_value_loses():
    # Fewer steps have 60 dB at guidance 2 and 40 at 8; one gains 5 and 1, the other 1 and 3.
    par = {2.0: 60.0, 8.0: 40.0}
    gentle, strong = [(2.0, 65.0), (8.0, 41.0)], [(2.0, 61.0), (8.0, 43.0)]
    assert (worst_middle(gentle), worst_middle(strong)) == (41, 43)
    assert (worst_middle(gentle, par=par), worst_middle(strong, par=par)) == (41, 41)
    low = [(2.0, 50.0), (8.0, 44.0)]  # loses 10 at guidance 2
    assert worst_middle(low) > worst_middle(strong)
    assert worst_middle(low, par=par) == 30
    assert worst_middle([(None, 30.0)], par={None: 50.0}) == 30


def test_par_is_what_the_best_of_some_settings_has_at_each_guidance():
    batches = [Batch(0, ("a",), 2.0), Batch(1, ("b",), 8.0)]
    measure = Measure(lambda jobs: [], constant(0), batches, Journal(None, {}), "half", 1.0)
    measure.par = measure.par_of([(60.0, 30.0), (50.0, 40.0)], 0.5)
    assert measure.par == {2.0: 60, 8.0: 40}
    assert measure.quality((60.0, 30.0), 0.5) == measure.quality((50.0, 40.0), 0.5) == 30
    assert measure.par_of([(60.0,)], 0.5) == {2.0: 60}  # at a glance
    measure.par = measure.par_of([], 0.5)
    assert measure.quality((50.0, 40.0), 0.5) == 40


def test_standard_error_of_the_median_of_a_normal_sample():
    values = np.random.default_rng(0).normal(40, 3, 20_000)
    assert standard_error(values) == pytest.approx(1.2533 * 3 / math.sqrt(20_000), rel=0.03)


def constant(level):
    """A setting whose samples are all `level` / 10, as far as the engine below is concerned."""
    return Setting(level, UniformPolicy(1))


def measure_with(asked, journal):
    class Constant:
        def drawn(self, setting, batch):
            asked.append((setting.steps, batch.seed))
            samples = np.full((len(batch.prompts), 2), setting.steps / 10)
            return Drawn(samples, samples)

    engine = local_engine(work_on(Constant()))
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
