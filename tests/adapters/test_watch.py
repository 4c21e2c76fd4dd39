import pytest
import torch

from conftest import make_dit
from frdiff.adapters import find_targets, watched


def call(dit):
    return dit(torch.zeros(1, 4, 8, 8), timestep=torch.tensor([5]), class_labels=torch.tensor([1]))


def test_every_target_is_seen_once_per_call_in_the_order_in_which_it_runs():
    dit = make_dit()
    seen = []
    with watched(find_targets(dit, "residual"), lambda target, feature: seen.append(target.name)):
        call(dit)
        call(dit)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert len(set(seen)) == half > 1
    call(dit)
    assert len(seen) == 2 * half


def test_the_feature_makes_the_output_again():
    dit = make_dit()
    (target,) = find_targets(dit, ["transformer_blocks.0"])
    seen = []
    passed = []
    target.module.register_forward_hook(lambda module, args, output: passed.append((args, output)))
    with watched([target], lambda target, feature: seen.append(feature)):
        call(dit)
    ((args, output),) = passed
    torch.testing.assert_close(target.rejoin((args, {}), seen[0], ...), output)
    assert not seen[0][0].requires_grad


def test_nothing_stays_after_an_error():
    dit = make_dit()
    targets = find_targets(dit, "residual")

    def fail(target, feature):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), watched(targets, fail):
        call(dit)
    assert not any(target.source._forward_hooks for target in targets)
