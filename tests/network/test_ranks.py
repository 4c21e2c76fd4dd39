"""Two ranks share one picture: each follows the table by itself, with the features of its part."""

import os
import warnings
from datetime import timedelta

import pytest
import torch
from diffusers import ContextParallelConfig
from test_contract import drive, error
from torch import distributed, multiprocessing
from torch.utils._pytree import tree_map_only

import frdiff
from conftest import ddim
from frdiff.network.ranks import within_ranks
from zoo import DENOISERS, tiny_call

NAMES = ("WanTransformer3DModel", "FluxTransformer2DModel", "QwenImageTransformer2DModel")
POLICIES = {
    "all": frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="all"),
    "residual": frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="residual"),
    "mixing": frdiff.UniformPolicy(3),
    "jumps": frdiff.JumpPolicy(2),
    "adaptive": frdiff.AdaptivePolicy(0.05),
}
PATIENCE = timedelta(seconds=20)


def even(tensor):
    """With four tokens of text for five: each rank takes as many."""
    for dim, size in enumerate(tensor.shape):
        if size == 5:
            tensor = tensor.narrow(dim, 0, 4)
    return tensor


def begun(name):
    model = DENOISERS[name]()
    call = tree_map_only(torch.Tensor, even, tiny_call(name, model))
    return model, call | {"return_dict": False}


def rank(number, work, folder, *args):
    """One of two, which do `work` and note in a folder what came of it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.accelerator.device_count = lambda: 1  # diffusers asks which of them is this rank's
    # A file to meet at: no port of this machine that something else may take.
    at = {"init_method": f"file://{folder}/meet", "rank": number, "world_size": 2}
    os.environ["LOCAL_RANK"] = str(number)
    distributed.init_process_group("gloo", timeout=PATIENCE, **at)
    torch.save(work(number, *args), folder / f"{number}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def plain(tensor):
    """Of one that a collective has still to fill, its contents."""
    return torch.from_numpy(tensor.numpy())


def parallel(model):
    model.enable_parallelism(config=ContextParallelConfig(ulysses_degree=2))


def shared(number, name):
    """Of every policy: scores, keyframes and bytes on one rank, then on two."""
    found = {}
    for said, policy in POLICIES.items():
        model, call = begun(name)
        scheduler, rows = ddim(), []
        for ranks in (1, 2):
            if ranks == 2:
                parallel(model)
            with frdiff.apply(model, policy, scheduler=scheduler) as run:
                scores = tree_map_only(torch.Tensor, plain, drive(model, scheduler, call))
                stats = run.stats
            rows.append((scores, stats.keyframes, stats.bank_bytes_peak))
        found[said] = rows
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_draw_what_one_does_and_each_holds_its_part(name, tmp_path):
    multiprocessing.spawn(rank, (shared, tmp_path, name), nprocs=2)
    for number in (0, 1):
        found = torch.load(tmp_path / f"{number}.pt")
        assert found.keys() == POLICIES.keys()
        for said, ((one, keys, held), (two, again, part)) in found.items():
            assert error(two, one) < 1e-5
            assert keys == again
            assert part == held if said == "jumps" else part < 0.75 * held


def deserted(number, name):
    """Rank 1 dies in the middle of a run; what the other raises then, and what is left on it."""
    model, call = begun(name)
    own = type(model).forward
    parallel(model)
    scheduler = ddim()
    before = vars(model)["forward"]
    calls = 0

    def dying(module, args):
        nonlocal calls
        calls += 1
        if number == 1 and calls == 7:
            os._exit(0)

    model.register_forward_pre_hook(dying)
    try:
        with frdiff.apply(model, POLICIES["all"], scheduler=scheduler):
            drive(model, scheduler, call)
    except RuntimeError as error:
        said = str(error)
    left = [
        part
        for part in model.modules()
        if "_frdiff_patch" in vars(part) or "frdiff" in type(within_ranks(part).forward).__module__
    ]
    untouched = vars(model)["forward"] is before and type(model).forward is own
    torch.save((said, len(left), untouched), f"{os.environ['FRDIFF_TEST_FOLDER']}/said.pt")
    os._exit(0)


@pytest.mark.slow
def test_a_rank_that_dies_raises_on_the_other_and_leaves_no_patch(tmp_path, monkeypatch):
    monkeypatch.setenv("FRDIFF_TEST_FOLDER", str(tmp_path))
    multiprocessing.spawn(rank, (deserted, tmp_path, NAMES[0]), nprocs=2)
    said, left, own = torch.load(tmp_path / "said.pt")
    assert said and not left and own
