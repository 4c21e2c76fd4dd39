"""What saves memory or time beside a policy: offloading, casting, tiles, compiled blocks."""

import pytest
import torch
from accelerate.big_modeling import attach_align_device_hook
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module

import frdiff
from companion import REUSE, STEPS, follows_changes, generator, keeps_contract, tensor
from pipelines_zoo import zoo

pytestmark = pytest.mark.filterwarnings("ignore:the plan computes:UserWarning")
NAMES = ["stable-diffusion", "stable-diffusion-3"]


def drawer(name, **inputs):
    tiny = zoo()[name]()
    options = {"num_inference_steps": STEPS, "output_type": "latent"} | tiny.inputs | inputs

    def draw():
        return tensor(tiny.pipe(generator=generator(), **options))

    return tiny.pipe, draw


def denoiser_of(pipe):
    return getattr(pipe, "unet", None) or pipe.transformer


def networks(pipe):
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def offload_layers(pipe):
    """As `enable_sequential_cpu_offload` does, which refuses a CPU to run on."""
    for network in networks(pipe):
        options = {"offload": True, "weights_map": dict(network.state_dict())}
        add_hook_to_module(network, AlignDevicesHook(io_same_device=True), append=True)
        attach_align_device_hook(network, execution_device="cpu", **options)
        assert {weight.device.type for weight in network.parameters()} == {"meta"}


@pytest.mark.parametrize("name", NAMES)
def test_model_offloading(name):
    """Hooks of whole models are taken off and put on again after every call."""
    pipe, draw = drawer(name, output_type="pt")
    plain = draw()
    pipe.enable_model_cpu_offload(device="cpu")
    keeps_contract(pipe, draw)
    assert torch.equal(draw(), plain)


@pytest.mark.parametrize("name", NAMES)
def test_sequential_offloading(name):
    """Weights are on no device but while a layer runs."""
    pipe, draw = drawer(name)
    plain = draw()
    offload_layers(pipe)
    keeps_contract(pipe, draw)
    assert torch.equal(draw(), plain)


@pytest.mark.parametrize("name", NAMES)
def test_offloading_that_begins_and_ends_while_a_policy_is_on(name):
    pipe, draw = drawer(name)
    with frdiff.apply(pipe, REUSE) as run:
        before = draw()
        offload_layers(pipe)
        assert torch.equal(draw(), before)
        assert run.stats.reuse_steps == 6
        for network in networks(pipe):
            remove_hook_from_module(network, recurse=True)
        assert torch.equal(draw(), before)
        assert run.stats.reuse_steps == 6 and run.stats.macs_ratio < 1


@pytest.mark.parametrize("kind", ["leaf_level", "block_level"])
@pytest.mark.parametrize("name", NAMES)
def test_group_offloading(name, kind):
    pipe, draw = drawer(name)
    plain = draw()
    options = {"num_blocks_per_group": 1} if kind == "block_level" else {}
    denoiser_of(pipe).enable_group_offload(
        onload_device=torch.device("cpu"), offload_device=torch.device("cpu"),
        offload_type=kind, **options,
    )  # fmt: skip
    keeps_contract(pipe, draw)
    assert torch.equal(draw(), plain)


@pytest.mark.parametrize("name", NAMES)
def test_layerwise_casting(name):
    """Weights rest in 8 bits and are widened while a layer runs."""
    pipe, draw = drawer(name)
    plain = draw()
    denoiser_of(pipe).enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
    )
    assert not torch.equal(draw(), plain)
    keeps_contract(pipe, draw)


def test_slices_and_tiles_of_the_decoder():
    pipe, draw = drawer("stable-diffusion", output_type="pt", num_images_per_prompt=2)
    pipe.vae.tile_latent_min_size, pipe.vae.tile_sample_min_size = 4, 8
    keeps_contract(pipe, draw)
    pipe.vae.enable_slicing()
    pipe.vae.enable_tiling()
    keeps_contract(pipe, draw)
    follows_changes(pipe, draw, lambda: pipe.vae.disable_tiling(), lambda: pipe.vae.enable_tiling())


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["compiled-first", "applied-first"])
@pytest.mark.parametrize("name", ["stable-diffusion", "wan", "flux"])
def test_regional_compilation(name, before):
    """The blocks that repeat are compiled, each for itself."""
    torch.compiler.reset()
    pipe, draw = drawer(name)
    plain = draw()
    options = {"backend": "eager", "fullgraph": True}
    with frdiff.apply(pipe, REUSE):
        eager = draw()
    if before:
        denoiser_of(pipe).compile_repeated_blocks(**options)
        keeps_contract(pipe, draw)
    else:
        with frdiff.apply(pipe, REUSE) as run:
            denoiser_of(pipe).compile_repeated_blocks(**options)
            assert torch.equal(draw(), eager)
            assert torch.equal(draw(), eager)
            assert run.stats.reuse_steps == 6
    assert torch.equal(draw(), plain)
    torch.compiler.reset()
