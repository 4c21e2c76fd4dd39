"""MACs against counts by hand."""

import pytest
import torch
from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module
from diffusers import DiTTransformer2DModel, Transformer2DModel
from torch import nn

import frdiff
from conftest import ddim, loop, make_dit, make_dit_pipe, make_unet
from frdiff.cost import BALANCE, FORECAST_PASSES, call_cost, first_call_cost
from frdiff.network.hollow import Example


def cost_of(model, targets, *args, **kwargs):
    return call_cost(model, frdiff.UniformPolicy(2, targets=targets), Example(args, kwargs))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, sample, timestep=None):
        return (self.head(self.conv(sample)),)


def test_convolutions_by_hand():
    cost = cost_of(Net(), ["conv"], torch.zeros(2, 3, 4, 4), 0)
    conv, head = 2 * 16 * 8 * 3 * 9, 2 * 16 * 3 * 8
    assert (cost.macs, cost.reuse_macs) == (conv + head, head)
    assert cost.targets[0].macs == conv
    assert cost.targets[0].feature_bytes == 2 * 8 * 16 * 4
    assert cost.reuse_ratio == head / (conv + head)


def test_traffic_by_hand():
    """A convolution reads its input, its weight and its bias, and writes its result."""
    cost = cost_of(Net(), ["conv"], torch.zeros(2, 3, 4, 4), 0)
    x, h, y = (2 * channels * 16 * 4 for channels in (3, 8, 3))
    conv = x + 4 * (8 * 3 * 9 + 8) + h
    head = h + 4 * (3 * 8 + 3) + y
    assert cost.traffic == conv + head
    assert (cost.targets[0].traffic, cost.targets[0].reuse_traffic) == (conv, 0)
    assert cost.reuse_traffic == head + FORECAST_PASSES * h
    assert cost.work == cost.macs + BALANCE["cpu"] * cost.traffic
    assert cost.reuse_work == cost.reuse_macs + BALANCE["cpu"] * cost.reuse_traffic


def test_views_move_nothing_and_element_wise_work_does():
    class Elementwise(Net):
        def forward(self, sample, timestep=None):
            return (self.conv(sample).flatten(1).unsqueeze(0)[0].view(1, 8, 4, 4) + 1,)

    plain, more = (
        cost_of(model, ["conv"], torch.zeros(1, 3, 4, 4)) for model in (Net(), Elementwise())
    )
    h = 8 * 16 * 4
    assert more.traffic - more.targets[0].traffic == 2 * h
    assert plain.targets[0].traffic == more.targets[0].traffic


def test_branches_behind_fresh_norms_cost_time_that_macs_do_not_show():
    """`"residual"` of a DiT computes every norm and gate anew, `"all"` none: 0.14 of a full step
    and 0.03, measured (docs/gpu.md); by MACs both are next to nothing."""
    model = make_dit(num_layers=4, num_attention_heads=4, attention_head_dim=32)
    call = torch.zeros(2, 4, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.long)
    every, branches = (cost_of(model, targets, *call) for targets in ("all", "residual"))
    assert branches.reuse_work / branches.work > 3 * every.reuse_work / every.work


def test_attention_is_counted_on_the_cpu():
    width, heads, tokens, batch = 16, 2, 64, 3
    torch.manual_seed(0)
    model = Transformer2DModel(heads, width // heads, in_channels=width, norm_num_groups=4)
    block = model.transformer_blocks[0]
    cost = cost_of(model, ["*.attn1"], torch.zeros(batch, width, 8, 8), return_dict=False)
    projections = 4 * batch * tokens * width * width
    products = 2 * batch * tokens * tokens * width
    assert cost.targets[0].macs == projections + products
    assert block.attn2 is None


def test_dit_xl_2_has_its_published_macs():
    """Peebles & Xie 2023, table 4: DiT-XL/2 at 256x256 takes 118.64 G (multiply-adds)."""
    with torch.device("meta"):
        model = DiTTransformer2DModel(
            num_layers=28, num_attention_heads=16, attention_head_dim=72, sample_size=32,
            patch_size=2, in_channels=4, out_channels=8, num_embeds_ada_norm=1000,
            norm_type="ada_norm_zero",
        )  # fmt: skip
    x = torch.zeros(1, 4, 32, 32, device="meta")
    t = c = torch.zeros(1, dtype=torch.long, device="meta")
    cost = cost_of(model, "residual", x, t, class_labels=c)
    assert cost.macs / 1e9 == pytest.approx(118.64, rel=0.01)
    assert cost.reuse_ratio < 0.03


def test_stats_add_up_call_by_call():
    unet, scheduler = make_unet(), ddim()
    with frdiff.apply(
        unet, frdiff.UniformPolicy(3, targets="residual"), scheduler=scheduler
    ) as run:
        loop(unet, scheduler, steps=12)
        stats = run.stats
    x, context = torch.zeros(2, 4, 8, 8), torch.zeros(2, 5, 16)
    cost = cost_of(make_unet(), "residual", x, torch.tensor(1), context)
    assert stats.macs_full == 12 * cost.macs
    assert stats.macs == stats.keyframes * cost.macs + stats.reuse_steps * cost.reuse_macs
    assert stats.macs_ratio == stats.macs / stats.macs_full


def test_stats_can_be_asked_for_during_a_run_and_after_removal():
    unet, scheduler = make_unet(), ddim()
    policy = frdiff.UniformPolicy(3, mixing=False, targets="residual")
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        undisturbed = loop(unet, scheduler)
        after = run.stats
    run = frdiff.apply(unet, policy, scheduler=scheduler)
    seen = []
    step = scheduler.step

    def asking(*args, **kwargs):
        result = step(*args, **kwargs)
        seen.append(run.stats)
        return result

    scheduler.step = asking
    latents = loop(unet, scheduler)
    scheduler.step = step
    run.remove()
    assert torch.equal(latents, undisturbed)
    assert [stats.steps for stats in seen] == list(range(1, 13))
    assert seen[4].bank_bytes > 0
    assert run.stats.macs == after.macs == seen[-1].macs


def test_counting_changes_no_weights_and_leaves_the_model_plain():
    model = make_dit()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, t, c = torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long)
    cost_of(model, "residual", x, t, class_labels=c)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "forward" not in model.__dict__


def test_first_call_of_a_pipeline_is_enough():
    costs = first_call_cost(make_dit_pipe(), frdiff.UniformPolicy(2, targets="residual"))
    assert list(costs) == ["transformer"]
    assert 0 < costs["transformer"].reuse_ratio < 0.5
    assert len(costs["transformer"].targets) == 4


def test_counting_leaves_offloaded_weights_alone():
    """Offloading hooks move weights when the model runs; counting must not make them run."""
    unet, scheduler = make_unet(), ddim()
    add_hook_to_module(unet, CpuOffload(execution_device="cpu"))
    policy = frdiff.UniformPolicy(3, mixing=False, targets="residual")
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        loop(unet, scheduler)
        remove_hook_from_module(unet, recurse=True)
        add_hook_to_module(unet, CpuOffload(execution_device="cpu"))
        assert run.stats.macs_ratio < 1
    plain = make_unet()
    for weight, expected in zip(unet.parameters(), plain.parameters(), strict=True):
        assert type(weight) is nn.Parameter
        assert torch.equal(weight, expected)


def test_a_policy_can_be_asked_after_another_was_applied():
    unet, scheduler = make_unet(), ddim()
    runs = []
    for interval in (2, 3):
        policy = frdiff.UniformPolicy(interval, mixing=False, targets="residual")
        with frdiff.apply(unet, policy, scheduler=scheduler) as run:
            loop(unet, scheduler)
        runs.append(run)
    frdiff.apply(unet, policy, scheduler=scheduler)
    assert runs[0].stats.macs_ratio > runs[1].stats.macs_ratio


class Reading(Net):
    """Wants to know the contents of its inputs."""

    limit = 1e9

    def forward(self, sample, timestep=None):
        if sample.sum().item() > self.limit:
            raise ValueError("too much")
        return super().forward(sample)


class Choosy(Net):
    """Works on the samples of a run alone."""

    def forward(self, sample, timestep=None):
        if not hasattr(sample, "is_drawn"):
            raise ValueError("what is this?")
        return super().forward(sample)


def reading(model):
    scheduler = ddim()
    policy = frdiff.UniformPolicy(3, mixing=False, targets=["conv"])
    with torch.no_grad(), frdiff.apply(model, policy, scheduler=scheduler) as run:
        scheduler.set_timesteps(12)
        x = -torch.ones(1, 3, 4, 4)
        for t in scheduler.timesteps:
            x.is_drawn = True
            x = scheduler.step(model(x, t)[0], t, x).prev_sample
    return run


def test_code_that_needs_the_contents_of_its_inputs_is_counted_on_real_ones():
    stats = reading(Reading()).stats
    assert (stats.steps, stats.keyframes) == (12, 4)
    assert stats.macs_ratio == pytest.approx(4 / 12 + 8 / 12 * 0.1, abs=0.1)


def test_what_cannot_be_counted_leaves_the_other_figures(caplog):
    stats = reading(Choosy()).stats
    assert (stats.steps, stats.keyframes, stats.macs, stats.macs_ratio) == (12, 4, None, None)
    assert "MACs unknown" in str(stats)
    assert "MACs of Choosy cannot be counted" in caplog.text


def test_a_keyframe_runs_a_shortcut_again_that_something_is_folded_into():
    unet = make_unet()
    policy = frdiff.UniformPolicy(2, mixing=False, targets="all")
    with frdiff.apply(unet, policy, scheduler=(scheduler := ddim())) as run:
        loop(unet, scheduler)
        (cost, _), stats = run.call_costs[0], run.stats
    (into,) = (place.first for place in cost.layout.places if place.folds)
    name, places = cost.targets[into].name, 8 * 8 * 2  # with both halves of guidance
    shortcut = unet.get_submodule(name).conv_shortcut
    again = places * shortcut.in_channels * shortcut.out_channels
    assert cost.keyframe_macs == cost.macs + again
    assert stats.macs == stats.keyframes * (cost.macs + again) + stats.reuse_steps * cost.reuse_macs
    every = frdiff.UniformPolicy(1, targets="all")  # stores nothing
    with pytest.warns(UserWarning, match="100%"):
        with frdiff.apply(unet, every, scheduler=scheduler) as run:
            loop(unet, scheduler)
            assert run.stats.macs_ratio == 1
