"""Passes on fake tensors in which whole numbers are known."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from frdiff.cost import CPU_ATTENTION, call_costs
from frdiff.network.contents import KnownContents
from frdiff.network.hollow import Example
from frdiff.policy import JumpPolicy
from zoo import DENOISERS, READS_CONTENTS, tiny_call

# Their flexible attention runs under no counter, so there is nothing to compare with.
FLEXIBLE = {
    "AnyFlowFARTransformer3DModel",
    "Kandinsky6SRTransformer3DModel",
    "WanAnimate2Transformer3DModel",
}


@pytest.mark.parametrize("name", sorted(READS_CONTENTS))
@torch.no_grad()
def test_counts_what_a_real_pass_counts(name):
    model = DENOISERS[name]().requires_grad_(False)
    call = tiny_call(name, model)
    example = Example((), call)
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    if name not in FLEXIBLE:
        with counter:
            model(**call)
    # Without weights there is no other way than fake tensors.
    (cost,) = call_costs(model.to("meta"), [JumpPolicy(2)], example)
    assert cost.macs == counter.get_total_flops() // 2 or (name in FLEXIBLE and cost.macs > 0)


def test_whole_numbers_are_known_and_floating_point_is_not():
    mask = torch.tensor([True, False, True])
    with FakeTensorMode(allow_non_fake_inputs=True), KnownContents():
        assert mask.sum().item() == 2
        assert mask.long().cumsum(0).tolist() == [1, 1, 2]
        assert isinstance(mask.float(), FakeTensor)
        assert torch.randn(3, 4)[mask].shape == (2, 4)
        assert torch.arange(5).max().item() == 4


def test_what_follows_from_floating_point_counts_as_zero():
    with FakeTensorMode(allow_non_fake_inputs=True), KnownContents():
        expert = torch.randn(6, 4).argmax(1)
        assert expert.bincount(minlength=4).tolist() == [6, 0, 0, 0]
        assert not (torch.randn(3) == 0).all().item()
