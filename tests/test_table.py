"""Tables: groups of targets computed on their own, weights of features and of scores."""

import pytest
import torch
from diffusers import EulerDiscreteScheduler

import frdiff
from conftest import ddim, loop, make_pixel_unet, make_unet
from frdiff.adapters import find_targets, grouped
from frdiff.plan import Action
from test_patch import Doubling, drive

BOTH = (("first",), ("second",))


def table(computed, steps=12, **options):
    """The rows given, then steps that compute nothing."""
    rows = [*computed, *[[]] * (steps - len(computed))]
    options = {"groups": BOTH, "targets": ["first", "second"], "forecast": 0} | options
    return frdiff.TablePolicy(steps, rows, **options)


def test_groups_are_computed_on_their_own():
    # first doubles the input, second doubles that; the fresh input is added.
    policy = table([[0, 1], [], [0], [1], [], [0, 1]])
    outputs, run = drive(Doubling(), policy, range(1, 13))
    assert outputs[:6] == [
        4 + 1,
        4 + 2,  # both reused
        4 + 3,  # first is 6 now, second still 4
        12 + 4,  # second doubles the stored 6
        12 + 5,
        24 + 6,
    ]
    assert outputs[6:] == [24 + x for x in range(7, 13)]
    assert (run.stats.keyframes, run.stats.reuse_steps) == (2, 10)


def test_features_are_weighed_as_the_table_says():
    weights = [None, None, [[2.0, -1.0]], [[0.5, 0.5]], *[None] * 8]
    policy = table([[0], [0]], groups=[["second"]], targets=["second"], forecast_weights=weights)
    outputs, _ = drive(Doubling(), policy, range(1, 13))
    # Computed: 4 and 8. Then 2 * 8 - 4 = 12, which is right, then their mean, then a copy.
    assert outputs[:5] == [5, 10, 12 + 3, 6 + 4, 8 + 5]


def test_scores_are_weighed_as_the_table_says():
    scores = [[1.0], [1.0], [2.0, -1.0], [0.5, 0.5], *[[1.0]] * 8]
    mixing = [1, 1, 0, 0, 0, 0.25, *[1] * 6]
    policy = table(
        [[0], [0]],
        groups=[["second"]],
        targets=["second"],
        mixing_weights=mixing,
        score_weights=scores,
    )
    outputs, run = drive(Doubling(), policy, range(1, 13))
    # Scores of the keyframes: 5 and 10. At step 5 the reuse score is 8 + 6.
    assert outputs[:6] == [5, 10, 15, 7.5, 10, 0.25 * 14 + 0.75 * 10]
    assert run.stats.jumps == 3


def test_a_keyframe_weighs_its_own_score_first():
    scores = [[1.0], [1.0], [1.5, -0.5], [1.0], [2.0, -0.5, -0.5], [2.0, -1.0], *[[1.0]] * 6]
    policy = table(
        [[0], [], [0], [], [0]],
        groups=[["second"]],
        targets=["second"],
        mixing_weights=[1, 0, 1, 0, 1, 0, *[1] * 6],
        score_weights=scores,
    )
    outputs, run = drive(Doubling(), policy, range(1, 13))
    # Own scores of the keyframes: 5, 15 and 25. What is kept, and weighed later, are those.
    assert outputs[:6] == [5, 5, 1.5 * 15 - 0.5 * 5, 15, 2 * 25 - 0.5 * (15 + 5), 2 * 25 - 15]
    assert (run.stats.keyframes, run.stats.jumps) == (3, 3)
    assert policy.score_depth == 3
    # Scores that no step takes need not be kept.
    unweighed = table(
        [[0], [0]], groups=[["second"]], score_weights=[[1.0]] * 2 + [[0.5, 0.5]] * 10
    )
    assert unweighed.score_depth == 0


def draw(policy):
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        return loop(unet, scheduler), run


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, *[1.0, 0.5, 1.0, 0.0, 1.0] * 2]])
def test_keyframes_alone_are_a_table_of_one_group(weights):
    keyframes = (0, 2, 5, 6, 11)
    explicit = frdiff.KeyframePolicy(12, keyframes, weights, forecast=1, targets="residual")
    rows = [[0] if i in keyframes else [] for i in range(12)]
    policy = frdiff.TablePolicy(12, rows, mixing_weights=weights, targets="residual")
    assert policy.plan(12) == explicit.plan(12)
    assert torch.equal(draw(policy)[0], draw(explicit)[0])


def test_weights_of_a_line_are_what_extrapolation_takes():
    keyframes = (0, 3, 6, 9)
    rows = [[0] if i in keyframes else [] for i in range(12)]
    weights = [None] * 12
    for i in (4, 5, 7, 8, 10, 11):
        gap = (i % 3) / 3
        weights[i] = [[1 + gap, -gap]]
    fitted = frdiff.TablePolicy(12, rows, forecast_weights=weights, targets="residual")
    plain = frdiff.TablePolicy(12, rows, targets="residual")
    assert torch.allclose(draw(fitted)[0], draw(plain)[0], atol=1e-5)


def test_all_groups_at_every_step_is_the_full_run():
    groups = [["down*"], ["mid*"], ["up*"]]
    policy = frdiff.TablePolicy(12, [[0, 1, 2]] * 12, groups, targets="residual")
    unet, scheduler = make_unet(), ddim()
    with pytest.warns(UserWarning, match="computes 100%"):
        drawn, _ = draw(policy)
    assert torch.equal(drawn, loop(unet, scheduler))


def test_macs_of_partial_steps_add_up():
    groups = [["down*"], ["mid*"], ["up*"]]
    rows = [[0, 1, 2], [], [0], [1], [2], [0, 1], *[[]] * 6]
    policy = frdiff.TablePolicy(12, rows, groups, targets="residual")
    _, run = draw(policy)
    full = run.stats.macs_full // 12
    none = draw(frdiff.TablePolicy(12, [[0]] + [[]] * 11, targets="residual"))[1].stats
    reuse = (none.macs - full) // 11
    # Step by step: each group once as it is in full, so the three make one keyframe more.
    targets = find_targets(make_unet(), "residual")
    numbers = grouped(targets, groups)
    assert sorted(set(numbers)) == [0, 1, 2]
    saved = {group: 0 for group in range(3)}
    cost = run.call_costs[0][0]
    for number, row in zip(numbers, cost.targets, strict=True):
        saved[number] += row.macs - row.reuse_macs
    assert sum(saved.values()) == full - reuse
    by_hand = full + 11 * reuse + 2 * saved[0] + 2 * saved[1] + saved[2]
    assert run.stats.macs == by_hand


def test_wildcards_make_groups():
    targets = find_targets(make_unet(), "residual")
    with pytest.raises(ValueError, match="is in no group; add a wildcard"):
        grouped(targets, [["down*"]])
    with pytest.raises(ValueError, match=r"in group 1, \['nothing'\]: .* another model"):
        grouped(targets, [["*"], ["nothing"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"computed": [[0, 1]]}, "computed needs one row per step, 12 in all, got 1"),
        ({"computed": [[0]] * 12}, r"step 0 must compute all groups, got \(0,\)"),
        ({"computed": [[0, 1, 1], *[[]] * 11]}, "must be different"),
        ({"computed": [[0, 1, 2], *[[]] * 11]}, "a group must be from 0 to 1, got 2"),
        ({"groups": []}, "groups must be 1 to 1000 lists, got 0"),
        ({"groups": [["first"], []]}, "a group must be a list of wildcards"),
        ({"mixing_weights": [1.0]}, "mixing_weights needs one row per step"),
        ({"mixing_weights": [1.5] * 12}, "a mixing weight must be from 0 to 1, got 1.5"),
        ({"score_weights": [[101.0]] * 12}, "must be from -100 to 100, got 101"),
        ({"forecast_weights": [None, [[0.5], [1.0]], *[None] * 10]}, "must sum to 1"),
        ({"score_weights": [[]] * 12}, "must be 1 to 4 numbers, got 0"),
        (
            {"score_weights": [[1.0], *[[0.5, 0.5]] * 11], "mixing_weights": [0.0] * 12},
            "step 1 weighs 2 scores, the keyframes up to it have 1",
        ),
        (
            {"score_weights": [[0.5, 0.5], *[[1.0]] * 11]},
            "step 0 weighs 2 scores, the keyframes up to it have 1",
        ),
        ({"forecast_weights": [[[1.0]]] * 12}, "one list per group, 2 in all, got 1"),
        (
            {"forecast_weights": [None, [[2.0, -1.0], [1.0]], *[None] * 10]},
            "step 1 weighs 2 features of group 0, 1 are stored before it",
        ),
        (
            {"computed": [[0, 1], [0], *[[]] * 10], "mixing_weights": [1.0, 0.0, *[1.0] * 10]},
            r"step 1 is a jump, so it can compute no group, got \(0,\)",
        ),
    ],
)
def test_tables_that_make_no_sense_are_refused(options, message):
    given = {"computed": [[0, 1], *[[]] * 11], "groups": BOTH} | options
    with pytest.raises(ValueError, match=message):
        frdiff.TablePolicy(12, **given)


def test_a_table_survives_its_file(tmp_path):
    policy = table(
        [[0, 1], [], [1], []],
        mixing_weights=[1.0, 0.5, 1.0, 0.0, *[1.0] * 8],
        forecast_weights=[None, [[1.0], [1.0]], *[None] * 10],
        score_weights=[[1.0]] * 12,
    )
    policy.save(tmp_path / "table.json")
    loaded = frdiff.load_policy(tmp_path / "table.json")
    assert loaded == policy
    actions = [step.action for step in loaded.plan(12)]
    assert actions[:4] == [Action.KEYFRAME, Action.REUSE, Action.REUSE, Action.JUMP]
    with pytest.raises(ValueError, match="made for 12 steps, the run has 10; run 12"):
        loaded.plan(10)


def test_jumps_alone_store_no_features():
    policy = table(
        [[0], [0]], groups=[["second"]], targets=["second"], mixing_weights=[1, 1, *[0] * 10]
    )
    outputs, run = drive(Doubling(), policy, range(1, 13))
    # Scores of the keyframes: 5 and 10; the last one stands in.
    assert outputs == [5, *[10] * 11]
    assert run.stats.jumps == 10
    # Two scores of one number each at most, and no feature.
    assert run.stats.bank_bytes_peak <= 2 * torch.zeros(1, 1).nbytes * 2
    assert not policy.reuses


@pytest.mark.parametrize("calls", [1, 2], ids=["one-call", "guidance-in-two-calls"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_score_weights_of_any_sum_are_what_the_solver_gets(depth, calls):
    """By hand: x += step * (weighted sum of the scores so far), jumps and the first step too."""
    steps, jumps = 10, (2, 4, 7)
    rows, known = [], 0
    for step in range(steps):
        known += step not in jumps
        rows.append([0.9 + 0.02 * step, -0.3, 0.2, 0.05][: min(known, depth)])
    policy = frdiff.TablePolicy(
        steps,
        [() if step in jumps else (0,) for step in range(steps)],
        mixing_weights=[float(step not in jumps) for step in range(steps)],
        score_weights=rows,
        targets=(),
    )
    unet, scheduler = make_pixel_unet(), EulerDiscreteScheduler()
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def sampled(score_of):
        scheduler.set_timesteps(steps)
        x = noise * scheduler.init_noise_sigma
        for step, t in enumerate(scheduler.timesteps):
            x = score_of(step, x / (scheduler.sigmas[step] ** 2 + 1) ** 0.5, t, x)
        return x

    def solved(step, scaled, t, x):
        scheduler.scale_model_input(x, t)  # it wants to be asked
        scores = [unet(scaled * (1 + number), t).sample for number in range(calls)]
        return scheduler.step(sum(scores), t, x).prev_sample

    stored = []

    def by_hand(step, scaled, t, x):
        if step not in jumps:
            stored.insert(0, sum(unet(scaled * (1 + number), t).sample for number in range(calls)))
        taken = sum(w * score for w, score in zip(rows[step], stored, strict=False))
        return x + (scheduler.sigmas[step + 1] - scheduler.sigmas[step]) * taken

    with torch.no_grad():
        expected = sampled(by_hand)
        with frdiff.apply(unet, policy, scheduler=scheduler):
            found = sampled(solved), sampled(solved)
    for sample in found:
        torch.testing.assert_close(sample, expected, rtol=1e-4, atol=1e-4)
