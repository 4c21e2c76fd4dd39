"""Runs of targets that are stored as one, and targets that nobody reads."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from diffusers import DiTTransformer2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

import frdiff
from conftest import ddim, make_unet
from frdiff.adapters import output, whole
from frdiff.adapters.target import branch
from frdiff.network.dataflow import Dataflow, Operation
from frdiff.network.layout import Layout, layout_of


class Block(nn.Module):
    """Adds to one stream."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, hidden_states):
        return hidden_states + self.layer(hidden_states)


class Pair(nn.Module):
    """Adds to two streams, and returns them the other way round; the last one returns one."""

    def __init__(self, last=False):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.last = last

    def forward(self, hidden_states, encoder_hidden_states):
        both = self.layer(torch.cat([hidden_states, encoder_hidden_states], 1))
        length = hidden_states.shape[1]
        hidden_states = hidden_states + both[:, :length]
        if self.last:
            return hidden_states
        encoder_hidden_states = encoder_hidden_states + both[:, length:]
        return encoder_hidden_states, hidden_states


class InPlace(Block):
    def forward(self, hidden_states):
        return hidden_states.add_(self.layer(hidden_states))


def laid_out(call, *modules, groups=None, computed=(), kinds=None):
    """The layout of the targets that are these modules, from a pass that `call` makes."""
    make = kinds or [whole] * len(modules)
    targets = [
        kind(str(n), module) for n, (kind, module) in enumerate(zip(make, modules, strict=True))
    ]
    flow = Dataflow()
    with torch.no_grad(), flow.watching(modules), flow:
        result = call()
    return layout_of(targets, groups or [0] * len(modules), flow, result, computed)


def runs(layout):
    """The numbers of the targets of every run, and of those that are not read."""
    found = {}
    for number, place in enumerate(layout.places):
        if place.read:
            found.setdefault(place.first, []).append(number)
    return list(found.values()), [n for n, place in enumerate(layout.places) if not place.read]


X = torch.ones(1, 3, 4)
TEXT = torch.ones(2, 7, 16)


def test_blocks_after_one_another_make_a_run():
    a, b, c = Block(), Block(), Block()
    layout = laid_out(lambda: c(b(a(X))), a, b, c)
    assert runs(layout) == ([[0, 1, 2]], [])
    assert layout.stored == [2]
    assert [place.passes for place in layout.places] == [(0,)] * 3


@pytest.mark.parametrize(
    "between",
    [
        lambda x, kept: kept.append(x) or x,  # a skip connection
        lambda x, kept: x + 1,  # a ControlNet
        lambda x, kept: x.mul_(2),
        lambda x, kept: x[:, :2],
    ],
    ids=["kept", "added", "in place", "part"],
)
def test_what_is_read_between_blocks_ends_a_run(between):
    a, b, c = Block(), Block(), Block()

    def call():
        kept = []
        x = between(b(a(X)), kept)
        return [c(x), *(one * 2 for one in kept)]

    assert runs(laid_out(call, a, b, c)) == ([[0, 1], [2]], [])


def test_blocks_of_two_groups_make_no_run():
    a, b, c = Block(), Block(), Block()
    layout = laid_out(lambda: c(b(a(X))), a, b, c, groups=[0, 0, 1])
    assert runs(layout) == ([[0, 1], [2]], [])


def test_a_block_that_runs_twice_stays_by_itself():
    a, b = Block(), Block()
    assert runs(laid_out(lambda: b(a(b(X))), a, b)) == ([[0], [1]], [])


def test_an_input_changed_in_place_ends_a_run():
    a, b, c = Block(), InPlace(), Block()
    assert runs(laid_out(lambda: c(b(a(X))), a, b, c))[0] != [[0, 1, 2]]


def test_streams_may_change_places_and_end():
    a, b, c = Pair(), Pair(), Pair(last=True)

    def call():
        text, x = a(X, 2 * X)
        text, x = b(x, encoder_hidden_states=text)
        return c(x, text)

    layout = laid_out(call, a, b, c)
    assert runs(layout) == ([[0, 1, 2]], [])
    # The first block returns text and picture, so its second stream is what the last one knows.
    assert [place.origins for place in layout.places] == [(0, 1), (0, 1), (1,)]
    assert layout.places[1].passes == ("encoder_hidden_states", 0)


def test_a_stream_that_is_read_later_may_not_end_in_a_run():
    a, b = Pair(), Pair(last=True)

    def call():
        text, x = a(X, 2 * X)
        return b(x, text), text

    assert runs(laid_out(call, a, b)) == ([[0], [1]], [])


def test_what_lies_below_a_stored_output_is_not_read():
    a, up, b = Block(), nn.Linear(4, 4), Block()
    kinds = [whole, output, whole]
    assert runs(laid_out(lambda: b(up(a(X))), a, up, b, kinds=kinds)) == ([[1], [2]], [0])
    # It is where a step computes the output anew.
    layout = laid_out(lambda: b(up(a(X))), a, up, b, kinds=kinds, groups=[0, 1, 0], computed={1})
    assert runs(layout) == ([[0], [1], [2]], [])


class Narrowed(nn.Module):
    """A ResNet block with a shortcut, as far as layouts look."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(6, 3, 1), nn.Conv1d(3, 3, 1)
        self.conv_shortcut = nn.Conv1d(6, 3, 1)

    def forward(self, x):
        return self.conv_shortcut(x) + self.conv2(self.conv1(x).sin())


@pytest.mark.parametrize("read", ["by the block", "itself, too", "joint, too", "changed", "apart"])
def test_what_a_shortcut_alone_reads_is_folded_into_its_sum(read):
    up, block, after = nn.Conv1d(3, 3, 1), Narrowed(), Block()
    skip = torch.ones(1, 3, 4)

    def call():
        above = up(X)
        joint = torch.cat([skip, above], dim=1)
        if read == "changed":
            joint.mul_(2)
        read_too = {"itself, too": above, "joint, too": joint}.get(read, X)
        return after(block(joint)), read_too * 2

    groups = [int(read == "apart"), 0, 0]  # a step may skip one and not the other
    kinds = [output, branch, whole]
    layout = laid_out(call, up, block, after, kinds=kinds, groups=groups)
    if read == "by the block":
        assert runs(layout) == ([[1, 2]], [0])
        assert [place.folds for place in layout.places] == [None, (3, 6), None]
        assert layout.refined(layout) == layout
        # What another call does not fold is read in both.
        other = laid_out(lambda: (call(), up(X)), up, block, after, kinds=kinds)
        assert runs(layout.refined(other))[1] == runs(other.refined(layout))[1] == []
        assert [place.folds for place in layout.refined(other).places] == [None] * 3
    else:
        assert runs(layout) == ([[0], [1, 2]], [])


@dataclass
class Answer:
    sample: torch.Tensor


class Hidden:
    def __init__(self, sample):
        self.sample = sample


def test_a_block_that_makes_its_stream_anew_passes_no_argument_on():
    # As blocks of a VAE's decoder are called: by their input, with None for a time embedding.
    sizes = {"temb_channels": None, "groups": 4}
    wider = ResnetBlock2D(in_channels=4, out_channels=8, **sizes)
    plain = ResnetBlock2D(in_channels=8, **sizes)
    x = torch.ones(1, 4, 2, 2)
    layout = laid_out(
        lambda: plain(wider(x, temb=None), temb=None), wider, plain, kinds=[branch, branch]
    )
    assert runs(layout) == ([[0, 1]], [])
    assert [place.passes for place in layout.places] == [(), (0,)]


def test_what_is_returned_in_an_object_is_read():
    a, b = Block(), Block()
    assert runs(laid_out(lambda: Answer(b(a(X))), a, b)) == ([[0, 1]], [])
    assert runs(laid_out(lambda: Hidden(b(a(X))), a, b))[1] == []


def test_refined_layouts_keep_what_both_have():
    a, b, c = Block(), Block(), Block()
    one = laid_out(lambda: c(b(a(X))), a, b, c)
    other = laid_out(lambda: c(b(a(X)) + 1), a, b, c)
    assert one.refined(one) == one
    assert runs(one.refined(other)) == ([[0], [1], [2]], [])
    assert runs(one.refined(Layout.alone(3))) == ([[0], [1], [2]], [])


def made(flow, outside=False):
    """How many operations made something, as views do not; all of them, or those in no module."""
    operations = [event for event in flow.events if isinstance(event, Operation)]
    return sum(bool(row.writes) and not (outside and row.within) for row in operations)


@torch.no_grad()
def operations(model, call, policy=None):
    """How many there are in the denoiser's call and between calls, step by step in a second run."""
    scheduler = ddim()
    with frdiff.apply(model, policy, scheduler=scheduler) if policy else nullcontext():
        for _ in range(2):
            found = []
            scheduler.set_timesteps(12)
            x = torch.ones(2, 4, 8, 8)
            for t in scheduler.timesteps:
                with Dataflow() as during:
                    score = call(model, x, t)
                with Dataflow() as between:
                    x = scheduler.step(score[:, :4], t, x).prev_sample
                found.append((made(during), made(between)))
    return found


def call_dit(model, x, t):
    return model(x, t.expand(2), torch.zeros(2, dtype=torch.long), return_dict=False)[0]


def call_unet(model, x, t):
    return model(x, t, TEXT, return_dict=False)[0]


@pytest.mark.parametrize("layers", [2, 12])
@pytest.mark.parametrize("forecast", [0, 1])
def test_a_reuse_step_adds_two_operations_for_a_run_of_any_length(layers, forecast):
    model = DiTTransformer2DModel(
        num_layers=layers, num_attention_heads=2, attention_head_dim=4, sample_size=8
    ).eval()
    policy = frdiff.UniformPolicy(3, mixing=False, forecast=forecast, targets="all")
    plain, ours = operations(model, call_dit), operations(model, call_dit, policy)
    flow = Dataflow()
    with flow.watching(model.transformer_blocks), flow, torch.no_grad():
        call_dit(model, torch.ones(2, 4, 8, 8), torch.tensor(0))
    for step in (4, 5, 7, 8):
        assert ours[step][0] <= made(flow, outside=True) + 2
        assert ours[step][1] <= plain[step][1] + 12


def test_a_reuse_step_of_a_unet_takes_no_more_operations_for_more_blocks():
    policy = frdiff.UniformPolicy(3, mixing=False, forecast=1, targets="all")
    added = []
    for layers in (1, 3):
        model = make_unet(layers_per_block=layers)
        ours, plain = operations(model, call_unet, policy), operations(model, call_unet)
        assert ours[4][0] < 0.5 * plain[4][0]
        added.append(ours[4][1] - plain[4][1])
    assert added[0] == added[1] <= 12


def test_a_jump_adds_its_combination_alone():
    model = make_unet()
    policy = frdiff.JumpPolicy(2, forecast=1)
    ours, plain = operations(model, call_unet, policy), operations(model, call_unet)
    jumps = [step for step, (during, _) in enumerate(ours) if during < 3]
    assert len(jumps) == 5
    assert [ours[step][0] for step in jumps] == [1] * 5
    assert all(ours[step][1] <= plain[step][1] + 12 for step in jumps)
