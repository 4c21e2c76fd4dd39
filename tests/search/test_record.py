import numpy as np
import pytest
import torch

from conftest import ddim, loop, make_dit_pipe, make_unet
from frdiff.policy import KeyframePolicy, TablePolicy
from frdiff.search.schedules.prices import MOST_MOVING, Prices
from frdiff.search.subject import Batch, LoopSubject, PipelineSubject
from frdiff.search.weights.record import Recording, record
from frdiff.setting import Setting


def recording_of(features):
    """A recording of one target with the given features, (steps, elements)."""
    features = np.asarray(features, dtype=float)
    gram = features @ features.T
    return Recording({"a": gram}, features[:, None], (), Prices({"a": 0.5}))


def test_weights_sum_to_1_and_follow_what_is_linear():
    steps = np.arange(12)[:, None]
    features = steps * np.array([[1.0, -2.0, 0.5]]) + np.array([[3.0, 0.0, 1.0]])
    keyframes = (0, 2, 5, 9)
    rows = recording_of(features).weights(keyframes, depth=2)
    for step, row in enumerate(rows):
        stored = [key for key in reversed(keyframes) if key < step][:2]
        if step in keyframes or len(stored) < 2:
            assert row is None
            continue
        (weights,) = row
        assert sum(weights) == pytest.approx(1, abs=1e-9)
        assert sum(w * features[k] for w, k in zip(weights, stored, strict=True)) == pytest.approx(
            features[step], rel=1e-6
        )


def test_scores_are_weighed_like_features():
    features = np.random.default_rng(0).normal(size=(8, 5))
    recording = recording_of(features)
    keyframes = (0, 3, 5)
    rows = recording.score_weights(keyframes, depth=3)
    fitted = recording.weights(keyframes, depth=3)
    assert rows == [[1.0] if row is None else row[0] for row in fitted]
    assert [len(row) for row in rows] == [1, 1, 1, 1, 2, 1, 3, 3]
    # Not fitted: linear, then quadratic in the step index.
    extrapolated = recording.score_weights(keyframes, depth=3, fitted=False)
    assert [len(row) for row in extrapolated] == [1, 1, 1, 1, 2, 1, 3, 3]
    assert extrapolated[4] == pytest.approx([4 / 3, -1 / 3])


def test_features_that_cannot_be_told_apart_by_step_are_not_fitted():
    recording = Recording({}, np.ones((4, 1, 2)), (), Prices({"a": 0.5}))
    assert recording.weights((0, 1), depth=3) == [None] * 4


@pytest.mark.parametrize("two_calls", [False, True])
def test_a_recording_has_every_target_in_the_order_in_which_it_runs(two_calls):
    unet, scheduler = make_unet(), ddim()
    subject = LoopSubject(lambda g: loop(unet, scheduler, 6, two_calls=two_calls), unet, scheduler)
    found = record(subject, Setting(6), Batch(0, ("",)), "all", overhead=0.1)
    names = list(found.grams)
    assert names == list(found.prices.saved)
    assert names.index("mid_block.resnets.0") < names.index("up_blocks.0.resnets.0")
    assert all(gram.shape == (6, 6) for gram in found.grams.values())
    assert found.prices.overhead == 0.1
    assert "forward" not in vars(unet)
    assert not any(module._forward_hooks for module in unet.modules())


def test_prices_are_what_runs_cost():
    subject = PipelineSubject(make_dit_pipe())
    batch = Batch(0, ("1", "2"))
    found = record(subject, Setting(12), batch, "all", overhead=0.0)
    names = list(found.prices.saved)
    groups = [[names[-1]], ["*"]]
    policy = TablePolicy(12, [[0, 1], [0], [], [0, 1], *[[]] * 8], groups)
    ratios = []
    subject.draw(Setting(12, policy), batch, lambda run: ratios.append(run.stats.macs_ratio))
    assert found.prices.cost(policy, 12) == pytest.approx(12 * ratios[0])


def test_grams_are_inner_products_over_all_calls_of_a_step():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2, bias=False)
            self.inner.weight.data = torch.eye(2)

        def forward(self, x, t):
            return self.inner(x)

    net, scheduler = Net(), ddim()

    def drawn(generator):
        scheduler.set_timesteps(4)
        for number, t in enumerate(scheduler.timesteps):
            for call in (1.0, 2.0):
                net(torch.full((1, 2), call * (number + 1)), t)
            scheduler.step(torch.full((1, 2), 5.0 * (number + 1)), t, torch.zeros(1, 2))
        return torch.zeros(1, 2)

    subject = LoopSubject(drawn, net, scheduler)
    found = record(subject, Setting(4), Batch(0, ("",)), ["inner"], overhead=0.0)
    # Two elements, calls of 1 and 2 times the step's number.
    numbers = np.arange(1, 5)
    assert found.grams["inner"] == pytest.approx(2 * (1 + 4) * np.outer(numbers, numbers))
    # Of scores it is what the scheduler got.
    assert found.scores[:, 0] == pytest.approx(np.outer(numbers, [5, 5]))
    assert found.score_gram == pytest.approx(2 * 25 * np.outer(numbers, numbers))


def test_the_greater_of_overhead_and_memory_traffic_is_paid():
    shown = Prices({"a": 0.9}, overhead=0.05, moving=0.2)
    assert shown.reuse == pytest.approx(0.3)
    assert shown.jump == pytest.approx(0.01)  # which moves none of it
    assert Prices({"a": 0.9}, overhead=0.05, moving=-0.1).reuse == pytest.approx(0.15)


def test_by_default_memory_traffic_is_paid_up_to_what_was_measured():
    subject = PipelineSubject(make_dit_pipe())
    batch = Batch(0, ("1", "2"))
    for targets in ("all", ["*.ff", "*.attn1"]):
        prices = record(subject, Setting(4), batch, targets, overhead=None).prices
        assert prices.overhead == 0.05 and 0.05 < prices.moving <= MOST_MOVING
        given = record(subject, Setting(4), batch, targets, overhead=0.1).prices
        assert (given.overhead, given.moving) == (0.1, 0.0)


def test_a_jump_costs_its_share_of_the_overhead():
    prices = Prices({"a": 0.5, "b": 0.2}, overhead=0.1)
    assert prices.reuse == pytest.approx(0.4)
    policy = KeyframePolicy(4, [0], [1, 0, 0, 1], targets=["a", "b"])
    assert prices.cost(policy, 4) == pytest.approx(1 + 2 * 0.02 + 0.4)
