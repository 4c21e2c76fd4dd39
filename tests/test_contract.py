"""What every denoiser class must keep to, with every set of targets and with jumps.

A hand-written loop calls a tiny model of the class with an input that moves a little from step to
step; the scheduler only tells the time.
"""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map_only, tree_structure

import frdiff
from conftest import ddim
from frdiff.adapters import find_targets
from frdiff.budget import rungs
from frdiff.network.layout import Layout
from frdiff.run.stats import Costs
from zoo import DENOISERS, tiny_call

STEPS = 12
SETS = ("paper", "residual", "all")
SPARSE = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="all")

# Of these a tiny call of two samples cannot be halved: some have lists of samples, caches, or one
# sample alone, and in some another dimension is 2 as well.
WHOLE = {
    "AnyFlowFARTransformer3DModel", "Cosmos3OmniTransformer", "HiDreamImageTransformer2DModel",
    "HunyuanVideoFramepackTransformer3DModel", "MiniMaxH3Transformer3DModel",
    "SkyReelsV2Transformer3DModel", "UNetMotionModel", "WanAnimate2Transformer3DModel",
    "ZImageTransformer2DModel",
}  # fmt: skip

each_class = pytest.mark.parametrize("name", sorted(DENOISERS))


def moved(call, step, pace=0.02):
    """The call with its noisy sample moved on; of tokens the first."""
    sample = next(iter(call))

    def move(tensor):
        if not pace:
            return tensor
        if tensor.is_floating_point():
            return tensor * (1 + pace * step)
        tokens = tensor.flatten().clone()
        tokens[0] = (tokens[0] + step) % (int(tokens.max()) + 1)
        return tokens.view_as(tensor)

    return call | {sample: tree_map_only(torch.Tensor, move, call[sample])}


@torch.no_grad()
def drive(model, scheduler, *calls, steps=STEPS, pace=0.02):
    """What each call returns, step by step, made one after the other in every step."""
    scheduler.set_timesteps(steps)
    scores = []
    for step, t in enumerate(scheduler.timesteps):
        # A copy: some denoisers empty the lists that they are given.
        scores.append(
            [model(**tree_map_only(list, list, moved(call, step, pace))) for call in calls]
        )
        scheduler.step(torch.zeros(1, 1, 2, 2), t, torch.zeros(1, 1, 2, 2))
    return scores


def tensors(scores):
    return [leaf for leaf in tree_leaves(scores) if isinstance(leaf, torch.Tensor)]


def assert_same(scores, others):
    assert tree_structure(scores) == tree_structure(others)
    assert all(map(torch.equal, tensors(scores), tensors(others)))


def error(scores, others):
    """The relative difference."""
    pairs = list(zip(tensors(scores), tensors(others), strict=True))
    missed = sum((one - other).float().square().sum() for one, other in pairs)
    return (missed / sum(other.float().square().sum() for _, other in pairs)).sqrt().item()


@pytest.mark.slow
@each_class
def test_every_set_of_targets(name):
    model, scheduler = DENOISERS[name](), ddim()
    call = tiny_call(name, model)
    plain = drive(model, scheduler, call)
    for targets in SETS:
        assert find_targets(model, targets)
        every = frdiff.KeyframePolicy(STEPS, range(STEPS), targets=targets)
        with (
            pytest.warns(UserWarning, match="100%"),
            frdiff.apply(model, every, scheduler=scheduler),
        ):
            assert_same(drive(model, scheduler, call), plain)
        policy = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets=targets)
        with frdiff.apply(model, policy, scheduler=scheduler) as run:
            reused = drive(model, scheduler, call)
            assert tree_structure(reused) == tree_structure(plain)
            assert_same(drive(model, scheduler, call), reused)
            stats = run.stats
        assert (stats.keyframes, stats.reuse_steps) == (4, 8)
        assert stats.macs_ratio < 1
        # A token more or less moves the score further than a little of the noise.
        tokens = not tensors(call[next(iter(call))])[0].is_floating_point()
        assert 0 < error(reused, plain) < (0.2 if tokens else 0.1)
        assert_same(drive(model, scheduler, call), plain)


def alone(costs, number, shapes):
    """A layout that stores target by target."""
    return Layout.alone(len(costs._patches[number].targets))


@pytest.mark.slow
@each_class
def test_sums_of_runs_equal_their_parts(name, monkeypatch):
    model, scheduler = DENOISERS[name](), ddim()
    call = tiny_call(name, model)
    for targets in SETS:
        policy = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets=targets)
        with frdiff.apply(model, policy, scheduler=scheduler) as run:
            together = drive(model, scheduler, call)
            peak = run.stats.bank_bytes_peak
        with monkeypatch.context() as patched:
            patched.setattr(Costs, "layout", alone)
            with frdiff.apply(model, policy, scheduler=scheduler) as run:
                apart = drive(model, scheduler, call)
                assert 0 < peak <= run.stats.bank_bytes_peak
        assert error(together, apart) < 1e-5


@pytest.mark.slow
@each_class
def test_a_bank_of_fewer_bytes_takes_what_is_foretold(name):
    model, scheduler = DENOISERS[name](), ddim()
    call = tiny_call(name, model)
    with frdiff.apply(model, SPARSE, scheduler=scheduler) as run:
        as_it_is = drive(model, scheduler, call)
        costs = [cost for cost, _ in run.call_costs]
    *_, (least, size) = rungs(SPARSE, costs, STEPS)
    with frdiff.apply(model, least, scheduler=scheduler, max_bytes=size) as run:
        scores = drive(model, scheduler, call)
        assert run.stats.bank_bytes_peak == size
        assert_same(drive(model, scheduler, call), scores)
    assert tree_structure(scores) == tree_structure(as_it_is)
    assert all(score.isfinite().all() for score in tensors(scores))
    assert error(scores, as_it_is) < 0.1


@pytest.mark.slow
@each_class
def test_a_step_of_halves_is_a_full_one_where_the_halves_still_differ_as_they_did(name):
    model, scheduler = DENOISERS[name](), ddim()
    call = tiny_call(name, model, batch=2)
    sample = next(iter(call))
    call[sample] = tree_map_only(torch.Tensor, lambda rows: rows[:1].expand_as(rows), call[sample])
    with frdiff.apply(model, frdiff.HalfPolicy(3), scheduler=scheduler) as run:
        first, *others = [
            *drive(model, scheduler, call, pace=0.0),  # looks whether halves are alike
            *drive(model, scheduler, call, pace=0.0),
        ]
        stats = run.stats
    assert all(tree_structure(first) == tree_structure(other) for other in others)
    assert max(error(other, first) for other in others) < 1e-5
    assert (stats.keyframes, stats.halves) == (4, 8)
    # What cannot be halved is computed in full.
    assert stats.macs_ratio == pytest.approx(1.0 if name in WHOLE else 2 / 3)


@pytest.mark.slow
@each_class
def test_jumps_and_mixing_keep_every_output(name):
    model, scheduler = DENOISERS[name](), ddim()
    call = tiny_call(name, model)
    plain = drive(model, scheduler, call)
    for policy in (frdiff.JumpPolicy(2), frdiff.UniformPolicy(2, bias=0.5, targets="all")):
        with frdiff.apply(model, policy, scheduler=scheduler) as run:
            scores = drive(model, scheduler, call)
            assert tree_structure(scores) == tree_structure(plain)
            assert_same(drive(model, scheduler, call), scores)
            assert run.stats.jumps > 0 and run.stats.macs_ratio < 1
        assert all(score.isfinite().all() for score in tensors(scores))
        moving = [tensors(scores[1]), tensors(plain[1])]
        assert len(moving[0]) == len(moving[1])
        assert_same(drive(model, scheduler, call), plain)


@pytest.mark.slow
@each_class
def test_two_calls_a_step_are_isolated_and_batches_may_change(name):
    model, scheduler = DENOISERS[name](), ddim()
    one = tiny_call(name, model)
    other = moved(tiny_call(name, model), 40)
    with frdiff.apply(model, SPARSE, scheduler=scheduler):
        alone = [drive(model, scheduler, call) for call in (one, other)]
        together = drive(model, scheduler, one, other)
        for place in range(2):
            assert_same([[row[place]] for row in together], alone[place])
        pair = tiny_call(name, model, batch=2)
        doubled = drive(model, scheduler, pair)
        assert_same(drive(model, scheduler, one), alone[0])
    with frdiff.apply(DENOISERS[name](), SPARSE, scheduler=scheduler) as run:
        assert_same(drive(run.patches[0].denoiser, scheduler, pair), doubled)


@pytest.mark.slow
@each_class
def test_compiles_in_one_piece_where_the_bare_model_does(name):
    bare = DENOISERS[name]()
    call = tiny_call(name, bare)
    torch.compiler.reset()
    try:
        with torch.no_grad():
            torch.compile(bare, fullgraph=True, backend="eager")(**tree_map_only(list, list, call))
    except Exception as error:
        pytest.skip(f"the bare model does not compile: {str(error).splitlines()[0]}")
    scheduler = ddim()
    with frdiff.apply(bare, SPARSE, scheduler=scheduler):
        eager = drive(bare, scheduler, call, steps=10)
    torch.compiler.reset()
    model = DENOISERS[name]()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with frdiff.apply(model, SPARSE, scheduler=scheduler) as run:
        scores = drive(compiled, scheduler, call, steps=10)
        assert run.stats.reuse_steps > 0
    torch.testing.assert_close(tensors(scores), tensors(eager))
