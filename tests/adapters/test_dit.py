import pytest
import torch

from conftest import make_dit
from contract import check
from frdiff.adapters import find_targets

INPUTS = {"shape": (4, 8, 8), "kwargs": {"class_labels": torch.tensor([3])}}


@pytest.mark.parametrize("targets", ["paper", "residual", "all"])
def test_contract(targets):
    check(make_dit, INPUTS, targets)


def test_paper_reuses_attention_and_residual_the_mlp_too():
    names = [target.name for target in find_targets(make_dit(), "paper")]
    assert names == ["transformer_blocks.0.attn1", "transformer_blocks.1.attn1"]
    assert len(find_targets(make_dit(), "residual")) == 4


def test_all_takes_whole_blocks_as_wildcards_do():
    blocks = ["transformer_blocks.0", "transformer_blocks.1"]
    assert [target.name for target in find_targets(make_dit(), "all")] == blocks
    x, added = torch.ones(1, 2, 3), torch.full((1, 2, 3), 2.0)
    for target in find_targets(make_dit(), "all") + find_targets(make_dit(), blocks):
        (feature,) = target.extract(((x,), {}), x + added)
        assert torch.equal(feature, added)
        assert torch.equal(target.rejoin(((x,), {}), (feature,), ...), x + added)
