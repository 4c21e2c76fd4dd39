"""Jumps alone: where keyframes lie, and what stands in for the score between them."""

import itertools

import pytest
import torch
from torch import nn

import frdiff
from conftest import call, ddim, make_pipe
from frdiff.policy.jumps import spaced


@pytest.mark.parametrize("power", [1.0, 1.15, 1.3, 2.0, 2.5])
def test_keyframes_are_different_and_reach_from_first_to_last_step(power):
    for num_steps, count in itertools.combinations(range(2, 30, 3), 2):
        count, num_steps = sorted((count, num_steps))
        keyframes = spaced(num_steps, count, power)
        assert len(set(keyframes)) == count
        assert list(keyframes) == sorted(keyframes)
        assert (keyframes[0], keyframes[-1]) == (0, num_steps - 1)


def test_even_spacing_and_crowding():
    assert spaced(13, 4) == (0, 4, 8, 12)
    # 1 - (1 - u)^2 at u = 0, 1/2, 1 of 12.
    assert spaced(13, 3, power=2) == (0, 9, 12)
    assert spaced(5, 5, power=2.5) == (0, 1, 2, 3, 4)
    assert spaced(7, 1) == (0,)


@pytest.mark.parametrize(
    ("interval", "num_steps", "keyframes"),
    [(2, 15, 8), (1.5, 13, 9), (3, 22, 8), (1, 7, 7), (100, 7, 2), (2, 1, 1)],
)
def test_one_step_in_every_interval_is_computed_and_the_last_one_is(interval, num_steps, keyframes):
    plan = frdiff.JumpPolicy(interval).plan(num_steps)
    assert len(plan.keyframes) == keyframes
    assert (plan.keyframes[0], plan.keyframes[-1]) == (0, num_steps - 1)
    assert plan.count(frdiff.Action.JUMP) == num_steps - keyframes


class Polynomial(nn.Module):
    """Its score is a polynomial of the step index."""

    def __init__(self, degree):
        super().__init__()
        self.degree = degree
        self.calls = 0

    def forward(self, x, t, step):
        self.calls += 1
        return torch.full_like(x, float(step**self.degree))


@pytest.mark.parametrize(("degree", "forecast", "nodes"), [(0, 0, 1), (1, 1, 2), (2, 2, 3)])
def test_scores_polynomial_in_the_step_are_met_exactly(degree, forecast, nodes):
    # No adapter knows this denoiser, and none is needed.
    net, scheduler, num_steps = Polynomial(degree), ddim(), 11
    policy = frdiff.JumpPolicy(2, crowding=1, forecast=forecast)
    scheduler.set_timesteps(num_steps)
    with frdiff.apply(net, policy, scheduler=scheduler) as run:
        x = torch.zeros(1, 2)
        scores = []
        scheduler.set_timesteps(num_steps)
        for step, t in enumerate(scheduler.timesteps):
            score = net(x, t, step)
            scores.append(score[0, 0].item())
            x = scheduler.step(score, t, x).prev_sample
    assert net.calls == 6
    enough = run.plan.keyframes[nodes - 1]
    assert scores[enough:] == pytest.approx([step**degree for step in range(enough, num_steps)])
    assert run.targets == []


def test_without_a_forecast_it_is_the_papers_reduced_nfe(pipe):
    policy = frdiff.JumpPolicy(2, crowding=1, forecast=0)
    keyframes = policy.plan(11).keyframes
    same = frdiff.KeyframePolicy(11, keyframes, [0.0] * 11)
    drawn = []
    for chosen in (policy, same):
        with frdiff.apply(pipe, chosen) as run:
            drawn.append(call(pipe, steps=11))
    assert torch.equal(*drawn)
    assert (run.stats.keyframes, run.stats.jumps) == (6, 5)


def test_it_costs_its_keyframes_and_the_pipeline_is_as_before():
    pipe = make_pipe()
    before = call(pipe, steps=13)
    with frdiff.apply(pipe, frdiff.JumpPolicy(2)) as run:
        assert not torch.equal(call(pipe, steps=13), before)
    assert run.stats.macs_ratio == pytest.approx(7 / 13)
    assert run.stats.bank_bytes_peak <= 3 * 2 * 4 * 8 * 8 * 4  # scores of both guidance halves
    assert torch.equal(call(pipe, steps=13), before)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: frdiff.JumpPolicy(0.5), "interval must be from 1"),
        (lambda: frdiff.JumpPolicy(2, crowding=0.9), "crowding must be from 1 to 10"),
        (lambda: frdiff.JumpPolicy(2, forecast=3), "forecast must be from 0 to 2"),
        (lambda: frdiff.JumpPolicy(2, coordinate="time"), "coordinate must be"),
    ],
)
def test_bad_values_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


class Told(nn.Module):
    """Its score at every step is what it is told, one row per sample."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def forward(self, x, t, step):
        return torch.tensor([[row[step]] * 3 for row in self.values])


def told(values, policy):
    """The scores that a loop gets, by step and sample, and the run."""
    net, scheduler = Told(values), ddim()
    with frdiff.apply(net, policy, scheduler=scheduler) as run:
        scheduler.set_timesteps(len(values[0]))
        x, scores = torch.zeros(len(values), 3), []
        for step, t in enumerate(scheduler.timesteps):
            score = net(x, t, step)
            scores.append(score[:, 0].tolist())
            x = scheduler.step(score, t, x).prev_sample
    return scores, run


CHECKED = frdiff.JumpPolicy(2, checked=True)
STEADY = [float(step) for step in range(11)]
TURNING = [1.0, 0.0, -1.0, 0.0] * 2 + [1.0, 0.0, -1.0]  # at keyframes 1, -1, 1, ...


def test_a_checked_jump_is_exact_where_scores_are_linear_and_held_back_where_they_alternate():
    scores, run = told([STEADY], CHECKED)
    # The first two jumps have too few keyframes to tell: they take the last one's score.
    assert [row[0] for row in scores] == pytest.approx([0, 0, 2, 2, *range(4, 11)])
    assert run.stats.held_back == pytest.approx(0, abs=1e-6)
    assert "held back" in str(run.stats)
    scores, run = told([TURNING], CHECKED)
    assert [row[0] for row in scores] == [1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1]
    assert run.stats.held_back == 1


def table(rows, **options):
    """A table that jumps at every second step, with its scores weighed as given."""
    computed = [(0,) if step % 2 == 0 else () for step in range(len(rows))]
    mixing = [float(step % 2 == 0) for step in range(len(rows))]
    options = {"mixing_weights": mixing, "targets": (), "checked": True} | options
    return frdiff.TablePolicy(len(rows), computed, score_weights=rows, **options)


def extrapolating(*rows):
    """Eleven rows: linear at jumps, once two keyframes are there, but for those given last."""
    usual = [[1.0] if step % 2 == 0 or step < 2 else [1.5, -0.5] for step in range(11)]
    return [*usual[: 11 - len(rows)], *rows]


@pytest.mark.parametrize("values", [STEADY, TURNING, [0.5 * step**2 for step in range(11)]])
def test_a_checked_table_jumps_as_the_checked_policy(values):
    by_table, run = told([values], table(extrapolating()))
    by_policy, other = told([values], CHECKED)
    assert [row[0] for row in by_table] == pytest.approx([row[0] for row in by_policy])
    assert run.stats.held_back == pytest.approx(other.stats.held_back)
    assert run.stats.bank_bytes_peak == other.stats.bank_bytes_peak


def test_what_is_held_back_is_what_differs_from_the_last_score_and_not_its_length():
    rows = extrapolating([3.0, -1.0], [1.0])  # step 9 is twice as long as its score
    steady, _ = told([STEADY], table(rows))
    assert steady[9][0] == pytest.approx(3 * 8 - 6)  # all of it
    turning, _ = told([TURNING], table(rows))
    assert turning[9][0] == pytest.approx(2 * TURNING[8])  # none of it
    with pytest.warns(UserWarning, match="diverges"):
        unchecked, _ = told([TURNING], table(rows, checked=False))
    assert unchecked[9][0] == pytest.approx(3 * TURNING[8] - TURNING[6])


def test_a_file_says_that_a_table_is_checked_only_where_it_is(tmp_path):
    for checked in (True, False):
        policy = table(extrapolating(), checked=checked)
        policy.save(tmp_path / "policy.json")
        assert ("checked" in (tmp_path / "policy.json").read_text()) == checked
        assert frdiff.load_policy(tmp_path / "policy.json") == policy
    with pytest.raises(TypeError, match="checked must be True or False, got 1"):
        table(extrapolating(), checked=1)


def test_each_sample_is_checked_by_itself():
    alone = [[row[0] for row in told([values], CHECKED)[0]] for values in (STEADY, TURNING)]
    both, run = told([STEADY, TURNING], CHECKED)
    assert [list(column) for column in zip(*both, strict=True)] == alone
    assert run.stats.held_back == pytest.approx(0.5, abs=1e-6)


def test_jumps_that_are_not_checked_tell_nothing_of_it():
    _, run = told([STEADY], frdiff.JumpPolicy(2))
    assert run.stats.held_back is None
    assert "held back" not in str(run.stats)


def test_a_check_keeps_one_score_more(pipe):
    peaks = []
    for policy in (frdiff.JumpPolicy(2), CHECKED):
        with frdiff.apply(pipe, policy) as run:
            call(pipe, steps=13)
        peaks.append(run.stats.bank_bytes_peak)
    assert peaks[1] == peaks[0] * 3 / 2
