"""LoRA loaded, swapped, scaled, fused and unloaded while a policy is on."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

import frdiff
from companion import REUSE, STEPS, follows_changes, generator, keeps_contract, tensor
from pipelines_zoo import zoo

pytestmark = [
    pytest.mark.filterwarnings("ignore:the plan computes:UserWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),
]
# What LoRA changes: layers within targets, and layers that are targets themselves.
WITHIN = ["to_q", "to_k", "to_v", "to_out.0"]
TARGETS = ["conv1", "conv2", "time_emb_proj", "ff.net.2", "proj_out"]


def lora(denoiser, modules, seed):
    """The content of a LoRA file, strong enough to be seen; the denoiser is as before."""
    torch.manual_seed(seed)
    options = {"target_modules": modules, "init_lora_weights": False}
    denoiser.add_adapter(LoraConfig(r=4, lora_alpha=8, **options), "made")
    weights = get_peft_model_state_dict(denoiser, adapter_name="made")
    weights = {name: weight.clone() for name, weight in weights.items()}
    denoiser.unload_lora()
    return weights


def made_case(modules):
    """A pipeline, what draws with it, and two LoRA files."""
    tiny = zoo()["stable-diffusion"]()

    def draw():
        options = {"num_inference_steps": STEPS, "output_type": "latent"}
        return tensor(tiny.pipe(generator=generator(), **options, **tiny.inputs))

    files = [lora(tiny.pipe.unet, modules, seed) for seed in (1, 2)]
    return tiny.pipe, draw, [prefixed(file, "unet") for file in files]


def prefixed(file, component):
    return {f"{component}.{name}": weight for name, weight in file.items()}


@pytest.mark.parametrize("modules", [WITHIN, TARGETS], ids=["within-targets", "on-targets"])
def test_a_pipeline_with_lora(modules):
    pipe, draw, (file, _) = made_case(modules)
    pipe.load_lora_weights(file)
    keeps_contract(pipe, draw)


@pytest.mark.parametrize("modules", [WITHIN, TARGETS], ids=["within-targets", "on-targets"])
def test_loaded_swapped_mixed_and_unloaded(modules):
    pipe, draw, (one, other) = made_case(modules)
    follows_changes(
        pipe,
        draw,
        lambda: pipe.load_lora_weights(one, adapter_name="one"),
        lambda: (
            pipe.load_lora_weights(other, adapter_name="other"),
            pipe.set_adapters("other"),
        ),
        lambda: pipe.set_adapters(["one", "other"], [0.5, 0.5]),
        lambda: pipe.unload_lora_weights(),
    )


@pytest.mark.parametrize("modules", [WITHIN, TARGETS], ids=["within-targets", "on-targets"])
def test_scaled_switched_off_and_fused(modules):
    pipe, draw, (file, _) = made_case(modules)
    pipe.load_lora_weights(file, adapter_name="one")
    follows_changes(
        pipe,
        draw,
        lambda: pipe.set_adapters("one", 0.5),
        lambda: pipe.disable_lora(),
        lambda: (pipe.enable_lora(), pipe.fuse_lora()),
        lambda: (pipe.unfuse_lora(), pipe.set_adapters("one", 1.0)),
        exact=False,  # fused weights are not given back to the bit
    )


@pytest.mark.parametrize(
    "loaded", [True, False], ids=["unloaded-after-apply", "loaded-after-apply"]
)
def test_what_is_saved_is_told_of_the_modules_that_run(loaded):
    """What LoRA wraps, and what it leaves, is hooked in its turn; costs are those of either."""
    pipe, draw, (file, _) = made_case(TARGETS)
    changes = [lambda: pipe.load_lora_weights(file), pipe.unload_lora_weights]
    if loaded:
        changes.reverse()
        pipe.load_lora_weights(file)
    with frdiff.apply(pipe, REUSE) as run:
        draw()
        before = run.stats
        changes[0]()
        draw()
        after = run.stats
    with frdiff.apply(pipe, REUSE) as run:
        draw()
        assert replace(after, seconds=0) == replace(run.stats, seconds=0)
    assert (after.macs < before.macs) is loaded


def test_transformer_of_two_streams():
    tiny = zoo()["stable-diffusion-3"]()
    pipe = tiny.pipe
    modules = ["to_q", "add_k_proj", "to_out.0", "ff.net.2", "ff_context.net.2"]
    file = prefixed(lora(pipe.transformer, modules, seed=1), "transformer")

    def draw():
        options = {"num_inference_steps": STEPS, "output_type": "latent"}
        return tensor(pipe(generator=generator(), **options, **tiny.inputs))

    follows_changes(
        pipe, draw, lambda: pipe.load_lora_weights(file), lambda: pipe.unload_lora_weights()
    )
    pipe.load_lora_weights(file)
    keeps_contract(pipe, draw)
