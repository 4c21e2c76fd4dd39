"""Every tiny denoiser answers its example call: finite, moved by its input, the same twice."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from frdiff.catalogue import example_call
from zoo import DENOISERS, READS_CONTENTS, tiny_call


def tensors(value):
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@pytest.fixture(params=sorted(DENOISERS))
def name(request):
    return request.param


@torch.no_grad()
def test_answers_alike_twice_and_finite(name):
    model = DENOISERS[name]()
    first, second = (tensors(model(**tiny_call(name, model))) for _ in range(2))
    assert first and all(tensor.isfinite().all() for tensor in first)
    assert all(map(torch.equal, first, second))
    assert all(tensor.float().std() > 0 for tensor in first if tensor.numel())


@torch.no_grad()
def test_batch_and_meta_device(name):
    model = DENOISERS[name]()
    shapes = [tensor.shape for tensor in tensors(model(**tiny_call(name, model, batch=2)))]
    if name != "Cosmos3OmniTransformer":  # one sample, without a batch
        assert all(shape[0] % 2 == 0 for shape in shapes) or len(shapes) == 2
    call = tiny_call(name, model.to("meta"), batch=2)
    assert tensors(call)[0].is_meta
    if name not in READS_CONTENTS:
        assert [tensor.shape for tensor in tensors(model(**call))] == shapes


def test_unknown_class_is_refused():
    with pytest.raises(ValueError, match="no example call for Linear; known: AceStep"):
        example_call(torch.nn.Linear(1, 1))
