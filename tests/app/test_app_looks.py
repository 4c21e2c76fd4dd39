"""What is shown: escaped, and true to the figures."""

import math
import re

import numpy as np
import pytest

import frdiff
from frdiff.app.front import best, plot
from frdiff.app.gauge import Measured
from frdiff.app.inspecting import inspected
from frdiff.app.looks import cards
from frdiff.app.turns import Turns
from frdiff.app.wording import message, table
from frdiff.setting import Setting

EVIL = '<script>throw 1</script>"'


def measured(name="full run", kind="full", seconds=2.0, decibels=30.0, notes=()):
    images = np.full((2, 8, 8, 3), 0.5, np.float32)
    setting = Setting(10, None, None)
    return Measured(name, kind, setting, images, seconds, 10, 1.0, 2**20, decibels, notes)


def test_everything_typed_is_escaped():
    full, evil = measured(), measured(EVIL, "shipped", notes=(EVIL,))
    shown = cards([full, evil], EVIL) + plot([full, evil], EVIL) + message(EVIL)
    shown += table([(EVIL, EVIL)], [EVIL])
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") >= 8


def test_figures_of_a_card():
    shown = cards([measured(), measured("fast", "frdiff", 0.5, 25.0)], "converged solution")
    for said in ("25.0 dB to the converged solution", "0.5 s, 4.00x", "10 steps, 10 network"):
        assert said in shown
    assert "bank 1.00 MiB" in shown
    assert shown.count("<img") == 2


def test_decibels_that_are_none_are_said_in_words():
    same = measured("again", "frdiff", decibels=math.inf)
    broken = measured("broken", "frdiff", decibels=math.nan)
    early = measured("early", "frdiff", decibels=None)
    shown = cards([measured(decibels=math.inf), same, broken, early], "full run")
    assert "the full run is not drawn yet" in shown
    assert "the same as the full run" in shown
    assert "not a number" in shown


def test_the_best_are_those_that_none_is_faster_and_closer_than():
    a, b, c, d = (
        measured(name, "frdiff", seconds, decibels)
        for name, seconds, decibels in [("a", 1, 20), ("b", 2, 30), ("c", 3, 25), ("d", 1, 10)]
    )
    assert best([c, d, b, a]) == [a, b]


def test_points_lie_where_their_figures_say():
    points = [measured(), measured("x", "frdiff", 1.0, 20.0), measured("y", "untuned", 2.0, 20.0)]
    shown = plot(points, "full run")
    circles = re.findall(r'id="fr-p(\d)".*?cx="([\d.]+)" cy="([\d.]+)"', shown)
    (_, x0, y0), (_, x1, y1), (_, x2, y2) = [(n, float(x), float(y)) for n, x, y in circles]
    left = 46
    assert (x1 - left) / (x0 - left) == pytest.approx(0.5, abs=0.01)
    assert (x2, y2) == (x0, y1)
    assert y0 < y1
    assert "2 pictures" not in shown
    assert plot([measured(decibels=math.inf)], "full run") == ""


def test_a_policy_inspected_tells_what_it_costs(studio):
    opened = studio.opened("digits")
    policy = frdiff.load_policy("digits/fast")
    shown = inspected(opened, policy, None, None, Turns())
    calls = len(policy.plan(policy.num_steps)) - policy.plan(policy.num_steps).count(
        frdiff.Action.JUMP
    )
    assert "<img" in shown
    assert f"{calls / 25:.2f} of those of 25 steps" in shown
    assert "predicted seconds" in shown and "the full run of 25 steps" in shown
    assert "Tuned for" in shown and "UNet2DModel" in shown
    assert shown.count("<tr>") > policy.num_steps


def test_a_policy_of_another_model_is_shown_without_costs(studio):
    opened = studio.opened("digits")
    shown = inspected(opened, frdiff.load_policy("emoji/high"), None, 4.0, Turns())
    assert "what it costs on digits is not told: this policy was tuned on" in shown
    assert "predicted seconds" not in shown
    with pytest.raises(ValueError, match="this policy was made for"):
        inspected(opened, frdiff.load_policy("emoji/high"), 7, None, Turns())
