"""Where tuned policies come from: what is checked, and what becomes of them elsewhere."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

import frdiff
from conftest import call, ddim, make_pipe, make_unet
from frdiff.policy import Origin, config_hash, loads
from frdiff.schedulers.levels import noise_coordinates


def levels(scheduler, steps):
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    return noise_coordinates(scheduler)


def origin(scheduler=None, steps=12, **changes):
    scheduler = scheduler or ddim()
    fields = {
        "model": "UNet2DConditionModel",
        "model_hash": config_hash(make_unet()),
        "scheduler": type(scheduler).__name__,
        "scheduler_hash": config_hash(scheduler),
        "num_inference_steps": steps,
        "found_by": "shape",
        "noise_levels": levels(scheduler, steps),
        "versions": {"frdiff": "0.1.0"},
        "figures": {"cost": 6.0},
    }
    return Origin(**(fields | changes))


def table(keyframes=(0, 4, 8, 11), steps=12, **changes):
    rows = [(0, 1) if step in keyframes else (1,) for step in range(steps)]
    groups = (("down_blocks.*", "mid_block.*"), ("*",))
    options = {"origin": origin(steps=steps)} | changes
    return frdiff.TablePolicy(steps, rows, groups, **options)


def test_a_hash_counts_what_the_constructor_takes_and_nothing_else():
    scheduler = ddim()
    assert config_hash(scheduler) == config_hash(ddim())
    scheduler.register_to_config(left_behind=3)
    assert config_hash(scheduler) == config_hash(ddim())
    assert config_hash(make_unet(seed=1)) == config_hash(make_unet())
    assert config_hash(make_unet(layers_per_block=2)) != config_hash(make_unet())


def test_it_survives_the_file(tmp_path):
    policy = table()
    policy.save(tmp_path / "policy.json")
    assert frdiff.load_policy(tmp_path / "policy.json") == policy
    assert hash(frdiff.load_policy(tmp_path / "policy.json")) == hash(policy)


def test_a_run_on_what_it_was_made_for_is_as_without_an_origin():
    pipe = make_pipe()
    with frdiff.apply(pipe, table()):
        first = call(pipe)
    with frdiff.apply(pipe, table(origin=None)):
        assert torch.equal(call(pipe), first)


def test_another_model_scheduler_or_step_count_is_refused_and_nothing_left_behind():
    pipe = make_pipe(unet=make_unet(layers_per_block=2))
    with pytest.raises(ValueError, match="was tuned on UNet2DConditionModel"):
        frdiff.apply(pipe, table())
    assert "forward" not in vars(pipe.unet)
    pipe = make_pipe(scheduler=DPMSolverMultistepScheduler.from_config(ddim().config))
    with pytest.raises(ValueError, match=r"was tuned with DDIMScheduler .*set the scheduler"):
        frdiff.apply(pipe, table())
    with pytest.raises(ValueError, match=r"frdiff.set_scheduler\(pipe, 'ddim'\) first"):
        frdiff.apply(pipe, table(origin=origin(solver="ddim")))
    assert "step" not in vars(pipe.scheduler)
    pipe = make_pipe()
    with (
        frdiff.apply(pipe, table()),
        pytest.raises(
            ValueError, match=r"made for 12 steps, the run has 20; .*use policy.resample"
        ),
    ):
        call(pipe, steps=20)


def test_a_scheduler_set_afterwards_is_refused_too():
    pipe = make_pipe()
    with frdiff.apply(pipe, table()):
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(ddim().config)
        with pytest.raises(ValueError, match="was tuned with DDIMScheduler"):
            call(pipe)


def test_resampling_to_its_own_run_changes_nothing_but_what_was_measured():
    policy = table(
        mixing_weights=[1.0, 0.5] * 6,
        score_weights=[[1.0]] * 8 + [[1.5, -0.5], [2.0, -1.0]] + [[1.0]] * 2,
        forecast_weights=[None] * 9 + [[[1.5, -0.5], [1.0]]] + [None] * 2,
    )
    same = policy.resample(ddim(), 12)
    assert same.origin == replace(policy.origin, found_by="resample", figures={})
    # The weight of a keyframe means nothing.
    weights = [1.0 if i in (0, 4, 8, 11) else w for i, w in enumerate(policy.mixing_weights)]
    assert same == replace(policy, origin=same.origin, mixing_weights=weights)


def test_a_keyframe_makes_up_for_as_many_jumps_as_it_was_tuned_for():
    policy = table(score_weights=[[1.0]] * 8 + [[1.5, -0.5]] + [[1.0]] * 3)
    other = policy.resample(ddim(), 24)
    assert len(other.plan(24).keyframes) == 4
    assert other.score_weights == ((1.0,),) * 24


def test_keyframes_keep_their_noise_level():
    solver = DPMSolverMultistepScheduler.from_config(ddim().config, use_karras_sigmas=True)
    policy = table()
    other = policy.resample(solver, 30)
    assert other.num_steps == 30
    own, new = policy.origin.noise_levels, levels(solver, 30)
    keyframes = other.plan(30).keyframes
    assert keyframes[0] == 0
    for before, after in zip(policy.plan(12).keyframes[1:], keyframes[1:], strict=True):
        assert abs(new[after] - own[before]) == min(abs(level - own[before]) for level in new)
    assert other.origin.scheduler == "DPMSolverMultistepScheduler"
    pipe = make_pipe(scheduler=solver)
    with frdiff.apply(pipe, other) as run:
        call(pipe, steps=30)
    assert run.stats.keyframes == len(keyframes)


def test_fewer_steps_have_fewer_keyframes_and_no_weights_for_what_is_not_there():
    weights = [None] * 9 + [[[1.5, -0.5], [1.0]]] * 2 + [None]
    policy = table(keyframes=(0, 1, 2, 11), forecast_weights=weights)
    other = policy.resample(ddim(), 4)
    assert other.plan(4).keyframes == (0, 3)
    assert other.forecast_weights == (None,) * 4


def test_learnt_weights_fit_no_other_steps():
    learnt = table(score_weights=[[0.9]] * 12)
    with pytest.raises(ValueError, match=r"learnt for its own steps .* tune for the new run"):
        learnt.resample(ddim(), 20)
    with pytest.raises(ValueError, match=r"made for 12 steps, the run has 20; .*tune for the new"):
        learnt.plan(20)


def test_a_table_without_an_origin_cannot_be_resampled():
    with pytest.raises(ValueError, match="does not know its noise levels"):
        table(origin=None).resample(ddim(), 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "model must be a text of 1 to 200"),
        ({"model": 3}, "model must be a text"),
        ({"scheduler_hash": "a\nb"}, "scheduler_hash must be a text"),
        ({"found_by": "x" * 201}, "found_by must be a text"),
        ({"solver": 1}, "solver must be a text"),
        ({"num_inference_steps": 0}, "num_inference_steps must be from 1"),
        ({"guidance": "1"}, "guidance must be a number"),
        ({"noise_levels": [1, "2"]}, "a noise level must be a number"),
        ({"noise_levels": [0.0] * 10_001}, "noise_levels must be at most 10000"),
        ({"versions": {"frdiff": 1}}, "version of frdiff must be a text"),
        ({"versions": []}, "versions must be an object"),
        ({"figures": {"cost": "6"}}, "cost must be a number"),
        ({"figures": {str(i): 1.0 for i in range(101)}}, "figures must be an object of at most"),
        ({"unknown": 1}, r"fields of origin unknown: \['unknown'\], missing: \[\]"),
    ],
)
def test_hostile_files_are_refused(changes, message):
    content = json.loads(table().dumps())
    content["origin"] |= changes
    with pytest.raises((TypeError, ValueError), match=message):
        loads(json.dumps(content))


@pytest.mark.parametrize("value", [3, "a", [], {}])
def test_an_origin_of_another_kind_is_refused(value):
    content = json.loads(table().dumps()) | {"origin": value}
    with pytest.raises((TypeError, ValueError), match="origin"):
        loads(json.dumps(content))
