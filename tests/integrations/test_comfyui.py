"""The node for ComfyUI, on stand-ins of ComfyUI's interfaces, see `comfy_stand_in`."""

import importlib.util
import logging
import sys
from pathlib import Path

import comfy_stand_in
import pytest
import torch
from comfy_stand_in import (
    BaseModel,
    Condition,
    Guider,
    ModelPatcher,
    Network,
    Sampling,
    euler,
    heun,
)
from diffusers import EulerDiscreteScheduler

import frdiff
from conftest import EMBED, ddim, make_unet
from frdiff.run.patch import patch_of

NODE = Path(__file__).parents[2] / "integrations" / "comfyui" / "__init__.py"
STEPS = 20
REUSE = frdiff.UniformPolicy(2, mixing=False, forecast=1, targets="all", align="end")
JUMP = frdiff.JumpPolicy(2, checked=True)


@pytest.fixture(scope="module")
def node():
    """The folder, as ComfyUI imports those in `custom_nodes`."""
    comfy_stand_in.install()
    spec = importlib.util.spec_from_file_location("frdiff_node", NODE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["comfy"], sys.modules["comfy.patcher_extension"]


@pytest.fixture
def scheduler():
    made = EulerDiscreteScheduler.from_config(ddim().config)
    made.set_timesteps(STEPS)
    return made


@pytest.fixture
def model(scheduler):
    return ModelPatcher(BaseModel(Network(make_unet()), Sampling(scheduler)))


def noise(seed=0, batch=1):
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def prompt(seed, **more):
    return Condition(
        torch.randn(1, 5, EMBED, generator=torch.Generator().manual_seed(seed)), **more
    )


def patched(node, model, policy="jump", interval=2):
    (found,) = node.FRDiff().patch(model, policy, interval)
    return found


def drawn(model, scheduler, sampler=euler, sigmas=None, positive=None, negative=None, **options):
    guider = Guider(model, positive or prompt(1), negative or prompt(2), **options)
    return guider.sample(sampler, noise(), scheduler.sigmas if sigmas is None else sigmas)


def by_hand(unet, scheduler, policy):
    """The same run as a loop of diffusers, with the halves in the order of the stand-in."""
    context = torch.cat([prompt(2).context, prompt(1).context])
    with frdiff.apply(unet, policy, scheduler=scheduler), torch.no_grad():
        scheduler.set_timesteps(STEPS)
        x = noise() * (1 + scheduler.sigmas[0] ** 2) ** 0.5
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t)
            uncond, cond = unet(torch.cat([scaled] * 2), t, context).sample.chunk(2)
            x = scheduler.step(uncond + 3.0 * (cond - uncond), t, x).prev_sample
    return x


@pytest.mark.parametrize(("name", "policy", "calls"), [("jump", JUMP, 11), ("reuse", REUSE, 20)])
def test_a_run_is_that_of_the_same_policy_on_the_same_loop(
    node, model, scheduler, name, policy, calls
):
    network = model.model.diffusion_model
    full = drawn(model, scheduler)
    network.calls = 0
    found = drawn(patched(node, model, name), scheduler)
    assert network.calls == 2 * calls  # halves of guidance
    expected = by_hand(network.unet, scheduler, policy)
    assert (found - expected).abs().max() < 1e-3 < (found - full).abs().max()
    # Another run begins anew, and the model without the node draws in full.
    assert torch.equal(drawn(patched(node, model, name), scheduler), found)
    assert torch.equal(drawn(model, scheduler), full)


def test_one_patched_model_samples_again_and_with_other_sigmas(node, model, scheduler):
    found = patched(node, model)
    first = drawn(found, scheduler)
    assert torch.equal(drawn(found, scheduler), first)
    shorter = scheduler.sigmas[4:]  # as where an image is given, and the first steps are left out
    network = model.model.diffusion_model
    network.calls = 0
    drawn(found, scheduler, sigmas=shorter)
    assert network.calls == 2 * 9  # of 16 steps
    assert torch.equal(drawn(found, scheduler), first)


def test_a_clone_without_the_node_is_untouched_even_while_another_has_it(node, model, scheduler):
    found, other = patched(node, model), model.clone()
    assert model.wrappers == other.wrappers == {}
    assert found.clone().wrappers == found.wrappers
    drawn(found, scheduler)
    assert patch_of(model.model.diffusion_model) is None
    assert "forward" not in vars(model.model.diffusion_model)


def test_the_last_of_two_nodes_counts(node, model, scheduler):
    twice = patched(node, patched(node, model, interval=4), interval=2)
    assert torch.equal(drawn(twice, scheduler), drawn(patched(node, model), scheduler))


@pytest.mark.parametrize("name", ["jump", "reuse"])
def test_conditions_never_mix_however_they_are_batched(node, model, scheduler, name):
    found = patched(node, model, name)
    together = drawn(found, scheduler)
    apart = drawn(found, scheduler, batched=lambda number: False)
    assert (together - apart).abs().max() < 1e-3
    swapped = drawn(
        found, scheduler, batched=lambda number: False, turned=lambda number: number % 3
    )
    assert (swapped - apart).abs().max() < 1e-3
    # Each half by itself is what it would be without the other.
    alone = drawn(found, scheduler, scale=1.0, batched=lambda number: False)
    same = drawn(found, scheduler, negative=prompt(1), batched=lambda number: False)
    assert (alone - same).abs().max() < 1e-3


@pytest.mark.parametrize(("name", "policy"), [("jump", JUMP), ("reuse", REUSE)])
def test_a_condition_that_sets_in_later_is_computed_when_it_first_comes(
    node, model, scheduler, name, policy
):
    """One prompt until some step and another from there: what is stored of the first is no use."""
    plan = policy.plan(STEPS)
    between = [step for step in range(STEPS) if plan[step].action is not frdiff.Action.KEYFRAME]
    levels, computed = scheduler.sigmas.tolist(), []
    block = model.model.diffusion_model.unet.mid_block.attentions[0].transformer_blocks[0]
    block.attn1.to_q.register_forward_hook(lambda *call: computed.append(len(call[2])))
    for step in (between[0], between[4]):
        computed.clear()
        first, second = prompt(1, end=levels[step - 1]), prompt(2, start=levels[step])
        drawn(patched(node, model, name), scheduler, positive=first, negative=second)
        assert computed == [1] * (plan.count(frdiff.Action.KEYFRAME) + 1)


def test_batches_that_change_in_a_run_are_computed_anew(node, model, scheduler):
    """As memory allows: features of two calls do not fit one, so that the step computes."""
    network = model.model.diffusion_model
    network.calls = 0
    found = drawn(patched(node, model), scheduler, batched=lambda number: number != 5)
    assert network.calls == 2 * 12  # step 5 would have been a jump
    assert found.isfinite().all()


def test_a_sampler_that_asks_twice_a_step_runs_in_full(node, model, scheduler, caplog):
    network = model.model.diffusion_model
    with caplog.at_level(logging.WARNING, "frdiff"):
        found = drawn(patched(node, model), scheduler, heun)
    assert "the rest runs in full" in caplog.text
    assert network.calls == 2 * (2 * STEPS - 1) - 2  # but for one jump, before that was seen
    assert patch_of(network) is None
    assert found.isfinite().all()


def test_an_interrupted_sampling_leaves_nothing_behind(node, model, scheduler):
    found, full = patched(node, model), drawn(model, scheduler)

    def interrupted(guider, sigmas, *rest):
        guider(rest[2], sigmas[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn(found, scheduler, interrupted)
    assert patch_of(model.model.diffusion_model) is None
    assert torch.equal(drawn(model, scheduler), full)
    assert found.model is model.model
    drawn(found, scheduler)


def test_policies_of_the_folder_are_offered_and_bad_ones_refused(
    node, model, scheduler, monkeypatch, tmp_path
):
    monkeypatch.setattr(node, "POLICIES", tmp_path)
    frdiff.JumpPolicy(2, checked=True).save(tmp_path / "mine.json")
    frdiff.load_policy("emoji/dpm++-25-speedup-2").save(tmp_path / "tuned.json")
    (tmp_path / "bad.json").write_text("{}")
    choices, _ = node.FRDiff.INPUT_TYPES()["required"]["policy"]
    assert choices == ["jump", "reuse", "bad", "mine", "tuned"]
    found = drawn(patched(node, model, "mine"), scheduler)
    assert torch.equal(found, drawn(patched(node, model), scheduler))
    with pytest.raises(ValueError, match=r"bad\.json"):
        patched(node, model, "bad")
    with pytest.raises(ValueError, match="tuned on UNet2DConditionModel of diffusers"):
        patched(node, model, "tuned")
    with pytest.raises(ValueError, match="one of jump, reuse"):
        patched(node, model, "../secret")


def test_comfyui_finds_the_node_and_its_interface(node):
    assert node.NODE_CLASS_MAPPINGS.keys() == node.NODE_DISPLAY_NAME_MAPPINGS.keys() == {"FRDiff"}
    kind = node.NODE_CLASS_MAPPINGS["FRDiff"]
    assert kind.RETURN_TYPES == ("MODEL",) and callable(getattr(kind, kind.FUNCTION))
    inputs = kind.INPUT_TYPES()["required"]
    assert list(inputs) == ["model", "policy", "interval"] and inputs["model"] == ("MODEL",)
