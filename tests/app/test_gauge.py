"""Ways of drawing measured and compared, for several users at once."""

import math
import threading

import numpy as np
import pytest

import frdiff
from frdiff.app.comparing import FEWER, UNTUNED, Way, compared, rivals, setting_of, ways_of
from frdiff.app.gauge import gauge_of
from frdiff.app.studio import OWN
from frdiff.app.turns import Lease, Stopped
from frdiff.app.wording import TRUTHS
from frdiff.sampling import sample
from frdiff.setting import Setting

FAST = "digits/fast"


def test_the_full_run_is_what_the_pipeline_draws_and_a_policy_costs_what_its_table_says(studio):
    opened = studio.opened("digits")
    scene = opened.scene([""], 5, None)
    policy = frdiff.load_policy(FAST)
    ways = [Way(FAST, "shipped", setting_of(scene, policy, 25))]
    own = opened.pipe.scheduler
    *_, (gauge, (full, fast)) = compared(
        scene, opened.full(25, OWN), ways, TRUTHS[0], studio.turns, Lease()
    )
    assert opened.pipe.scheduler is own
    np.testing.assert_array_equal(full.images, sample(opened.pipe, [""], steps=25, seed=5))
    assert (full.calls, full.macs_share, full.bank_bytes) == (25, 1.0, 0)
    plan = policy.plan(policy.num_steps)
    assert fast.calls == len(plan) - plan.count(frdiff.Action.JUMP) < 10
    assert fast.macs_share < 0.4
    assert fast.bank_bytes > 0
    assert gauge.against == TRUTHS[0]
    assert 20 < fast.decibels < math.inf


def test_against_the_full_run_the_full_run_is_equal(studio):
    opened = studio.opened("digits")
    scene = opened.scene([""], 0, None)
    with studio.turns.taken(Lease()) as pace:
        gauge = gauge_of(scene, opened.full(4, OWN), TRUTHS[1], pace)
        assert gauge.measure("early", "frdiff", Setting(4), pace).decibels is None
        gauge = gauge.with_truth(pace)
        again = gauge.measure("again", "frdiff", Setting(4), pace)
        fewer = gauge.measure("fewer", "frdiff", Setting(3), pace)
    assert again.decibels == gauge.full.decibels == math.inf
    assert fewer.decibels < 40
    assert fewer.macs_share == 3 / 4


def test_fewer_steps_are_as_many_as_the_policy_has_passes_and_the_best_solver_is_shown(studio):
    opened = studio.opened("digits")
    scene, full = opened.scene([""], 1, None), opened.full(25, OWN)
    ways = [
        Way(FAST, "shipped", setting_of(scene, frdiff.load_policy(FAST), 25)),
        Way(FEWER, "fewer steps", None),
    ]
    *_, (gauge, (_, fast, fewer)) = compared(scene, full, ways, TRUTHS[0], studio.turns, Lease())
    assert fewer.setting.steps == round(25 * fast.macs_share)
    with studio.turns.taken(Lease()) as pace:
        all_of_them = [
            gauge.measure("", "fewer steps", setting, pace)
            for setting in rivals(scene, full, fewer.setting.steps)
        ]
    assert len(all_of_them) >= 4
    assert fewer.decibels == max(one.decibels for one in all_of_them)


def test_a_policy_of_another_model_is_refused_before_anything_is_drawn(studio):
    opened = studio.opened("digits")
    scene = opened.scene([""], 0, None)
    with pytest.raises(ValueError, match="this policy was tuned on UNet2DConditionModel"):
        setting_of(scene, frdiff.load_policy("emoji/high"), 25)
    with pytest.raises(ValueError, match="policy must be one of digits/"):
        opened.policy("emoji/high")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([], "choose one to 3 ways of drawing beside the full run, .*; got 0"),
        ([FAST, "digits/high", *UNTUNED], "choose one to 3 ways .*; got 4"),
        (["emoji/high"], "a way of drawing must be one of digits/"),
        ([["nested"]], "a way of drawing must be one of digits/"),
    ],
)
def test_choices_that_are_refused(studio, chosen, said):
    opened = studio.opened("digits")
    with pytest.raises(ValueError, match=said):
        ways_of(opened, opened.scene([""], 0, None), opened.full(5, OWN), chosen, {})


def test_fewer_steps_come_after_what_they_are_to_be_as_many_as(studio):
    opened = studio.opened("digits")
    full = opened.full(5, OWN)
    mine = {"mine.json": frdiff.UniformPolicy(2)}
    ways = ways_of(opened, opened.scene([""], 0, None), full, [FEWER, FAST], mine)
    assert [way.name for way in ways] == ["mine.json", FAST, FEWER]
    assert ways[0].setting == Setting(5, mine["mine.json"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seed": -1}, "seed must be from 0"),
        ({"guidance": 2.0}, "digits takes no guidance"),
    ],
)
def test_scenes_that_are_refused(studio, fields, said):
    opened = studio.opened("digits")
    with pytest.raises(ValueError, match=said):
        opened.scene([""], **{"seed": 0, "guidance": None} | fields)


@pytest.mark.parametrize("solver", ["flow-euler", "euler-a", "nonsense", None])
def test_solvers_that_are_refused(studio, solver):
    with pytest.raises(ValueError, match="solver must be one of the model's own, ddim"):
        studio.opened("digits").full(5, solver)


def test_models_that_are_refused(studio):
    with pytest.raises(ValueError, match="model must be one of digits, emoji"):
        studio.opened("../../etc")


def draw(studio, name, seed):
    """The pictures of a comparison."""
    opened = studio.opened("digits")
    scene = opened.scene([""], seed, None)
    policy = frdiff.load_policy(name)
    ways = [Way(name, "shipped", setting_of(scene, policy, 25))]
    *_, (_, found) = compared(scene, opened.full(10, OWN), ways, TRUTHS[1], studio.turns, Lease())
    return [one.images for one in found]


def test_two_requests_at_once_draw_what_each_draws_alone(studio):
    asked = [(FAST, 1), ("digits/high", 2), (FAST, 3), ("digits/lossless", 4)]
    alone = [draw(studio, *one) for one in asked]
    together = {}

    def request(one):
        together[one] = draw(studio, *one)

    threads = [threading.Thread(target=request, args=(one,)) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for one, images in zip(asked, alone, strict=True):
        np.testing.assert_array_equal(together[one], images)
    assert studio.turns.waiting == 0


def test_what_a_policy_warns_of_is_noted(studio):
    opened = studio.opened("emoji")
    scene, full = opened.scene(["red apple"], 0, 12.0), opened.full(2, OWN)
    ways = ways_of(opened, scene, full, ["emoji/fast"], {})
    *_, (_, (plain, fast)) = compared(scene, full, ways, TRUTHS[1], studio.turns, Lease())
    assert plain.notes == ()
    assert "guidance_scale is 12, not 1 to 8" in fast.notes[0]


def test_who_stops_keeps_what_was_drawn_and_leaves_the_pipeline_as_it_was(studio):
    opened = studio.opened("digits")
    scene, lease = opened.scene([""], 0, None), Lease()
    own = opened.pipe.scheduler
    ways = [Way(FAST, "shipped", setting_of(scene, frdiff.load_policy(FAST), 25))]
    drawing = compared(scene, opened.full(5, OWN), ways, TRUTHS[0], studio.turns, lease)
    assert len(next(drawing)[1]) == 1
    lease.asked.set()
    with pytest.raises(Stopped):
        next(drawing)
    assert opened.pipe.scheduler is own
    assert studio.turns.waiting == 0


def test_work_of_a_session_ends_with_it_and_nothing_of_it_is_kept(studio):
    with studio.begun("one", "compare") as mine, studio.begun("two", "compare") as other:
        studio.leave("one")
        assert mine() and not other()
        with studio.begun("two", "compare") as again:
            assert other() and not again()
    assert studio._leases == {}
