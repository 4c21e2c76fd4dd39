"""Scores of every form: whatever tensors a denoiser returns are jumped, mixed and corrected."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from diffusers.utils import BaseOutput
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

import frdiff
from conftest import ddim
from frdiff.network.trees import form_of, tensors_in

STEPS = 12
JUMPS = frdiff.JumpPolicy(2, forecast=0)
MIXED = frdiff.KeyframePolicy(STEPS, range(0, STEPS, 2), [1, 0.25] * 6, targets=["twice"])
CORRECTED = frdiff.TablePolicy(
    STEPS,
    [[0], []] * 6,
    mixing_weights=[1, 0] * 6,
    score_weights=[*[[1.0]] * 2, *[[1.5, -0.5], [1.0]] * 5],
    targets=["twice"],
)
Pair = namedtuple("Pair", ["video", "sound"])


@dataclass
class Output(BaseOutput):
    video: Tensor
    sound: Tensor | None = None
    mask: Tensor | None = None


@dataclass
class Plain:
    video: Tensor
    parts: list
    name: str = "plain"


FORMS = {
    "tensor": lambda v, s: v,
    "tuple": lambda v, s: (v, s),
    "with None": lambda v, s: (v, None, s),
    "list": lambda v, s: [v, s],
    "of lists": lambda v, s: ([v, s], [s]),
    "namedtuple": lambda v, s: Pair(v, s),
    "dictionary": lambda v, s: {"video": v, "sound": [s]},
    "ordered": lambda v, s: OrderedDict(video=v, sound=s),
    "output": lambda v, s: Output(v, s),
    "output, last field alone": lambda v, s: Output(v, None, s),
    "dataclass": lambda v, s: Plain(v, [s, (v, s)]),
}


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


class Answer(nn.Module):
    """Three times its input as video, six times as sound, in any form."""

    def __init__(self, form):
        super().__init__()
        self.twice = Double()
        self.form = form
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, sample, timestep=None):
        video = self.twice(sample) + sample
        return self.form(video, 2 * video)


def drive(model, policy, scheduler=None):
    """What `model` answers at every step to the step's number, from 1."""
    scheduler = scheduler or ddim()
    answers = []
    with frdiff.apply(model, policy, scheduler=scheduler) as run:
        scheduler.set_timesteps(STEPS)
        for number, t in enumerate(scheduler.timesteps, 1):
            answers.append(model(torch.full((1, 1), float(number)), t))
            scheduler.step(torch.zeros(1, 1), t, torch.zeros(1, 1))
    return answers, run


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("policy", [JUMPS, MIXED, CORRECTED], ids=["jumps", "mixed", "corrected"])
@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_of_a_score_is_kept(form, policy, compiled):
    """Whatever holds for the video holds for the sound, which is twice as much."""
    model = Answer(FORMS[form])
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend("eager")
    net = torch.compile(model, fullgraph=True, backend=counter) if compiled else model
    answers, run = drive(net, policy)
    plain = [model(torch.full((1, 1), float(number))) for number in range(1, STEPS + 1)]
    assert run.stats.jumps == run.stats.steps - run.stats.keyframes - run.stats.reuse_steps
    assert run.stats.keyframes < STEPS
    for number, (answer, full) in enumerate(zip(answers, plain, strict=True), 1):
        assert type(answer) is type(full)
        assert form_of(answer) == form_of(full)
        video = expected(policy, run.plan, number)
        for tensor, exact in zip(tensors_in(answer), tensors_in(full), strict=True):
            assert tensor.item() == pytest.approx(video * exact.item() / (3 * number))
    kinds = 2 if policy is MIXED else 1  # of steps that run the network
    assert counter.frame_count == (kinds if compiled else 0)
    assert not counters["graph_break"]


def expected(policy, plan, number):
    """The video at step `number`, counted from 1, when each is asked for its number."""
    keyframe = 1 + max(index for index in plan.keyframes if index < number)
    if policy is JUMPS:
        return 3 * keyframe
    if policy is MIXED:
        reused = 2 * keyframe + number
        return reused if number % 2 else 0.25 * reused + 0.75 * 3 * keyframe
    own, before = 3 * keyframe, 3 * (keyframe - 2)
    corrected = 1.5 * own - 0.5 * before if keyframe > 1 else own
    return corrected if number % 2 else own


LEANT = frdiff.TablePolicy(
    STEPS,
    [[0], []] * 6,
    mixing_weights=[1, 0] * 6,
    score_weights=[*[[1.0]] * 2, *[[1.5, -0.5], [1.0]] * 5],
    sample_weights=[0.25, 0.5] * 6,
    targets=(),
)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_share_of_the_sample_is_added_to_the_score(compiled):
    """The sample at step n is n, and so much of it is added that its step says."""
    model = Answer(lambda v, s: (v,))
    torch._dynamo.reset()
    net = torch.compile(model, fullgraph=True, backend="eager") if compiled else model
    answers, run = drive(net, LEANT)
    for number, (answer,) in enumerate(answers, 1):
        without = expected(LEANT, run.plan, number)
        assert answer.item() == pytest.approx(without + number * (0.25 if number % 2 else 0.5))


def lean_on(net, sample):
    policy = frdiff.TablePolicy(STEPS, [[0]] * STEPS, sample_weights=[0.5] * STEPS, targets=())
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    with frdiff.apply(net, policy, scheduler=scheduler):
        score = net(sample)
        scheduler.step(score, scheduler.timesteps[0], score)
    return score


def test_the_leading_channels_are_those_of_the_sample():
    class Channels(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.count = count

        def forward(self, sample):
            return sample.new_ones(len(sample), self.count)

    sample = torch.tensor([[2.0, 4.0, 6.0]])
    assert lean_on(Channels(2), sample).tolist() == [[2.0, 3.0]]  # a picture beside the sample
    assert lean_on(Channels(4), sample).tolist() == [[2.0, 3.0, 4.0, 1.0]]  # a learnt variance


def test_a_score_that_is_nothing_like_the_first_input_takes_no_sample():
    class Other(nn.Module):
        def forward(self, time):
            return torch.ones(1, 4, 2, 2)

    with pytest.raises(ValueError, match=r"no like among the inputs, whose first has shape \(1,\)"):
        lean_on(Other(), torch.ones(1))


def test_scores_that_are_changed_in_place_stay_as_they_were():
    model, scheduler = Answer(FORMS["of lists"]), ddim()
    with frdiff.apply(model, frdiff.JumpPolicy(12), scheduler=scheduler):
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            scores = tensors_in(model(torch.ones(1, 1), t))
            assert [score.item() for score in scores] == [3, 6, 6]
            for score in scores:
                score.mul_(100)
            scheduler.step(torch.zeros(1, 1), t, torch.zeros(1, 1))


class Rows(nn.Module):
    """A denoiser that takes its batch as a list, by the name of `x`, and answers with one."""

    def __init__(self):
        super().__init__()
        self.twice = Double()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, t=None, *, x):
        return ([self.twice(row) + row for row in x],)


def test_inputs_that_are_lists_by_any_name_are_told_apart_by_their_shapes():
    model, scheduler = Rows(), ddim()
    shapes = {i: [(1, 2)] * 2 for i in range(STEPS)} | {7: [(1, 2), (1, 3)], 8: [(1, 2)] * 3}
    policy = frdiff.JumpPolicy(12)
    with frdiff.apply(model, policy, scheduler=scheduler) as run:
        scheduler.set_timesteps(STEPS)
        for number, t in enumerate(scheduler.timesteps):
            rows = [torch.full(shape, float(number)) for shape in shapes[number]]
            (answer,) = model(t=t, x=rows)
            assert [row.shape for row in answer] == [row.shape for row in rows]
            scheduler.step(torch.zeros(1, 1), t, torch.zeros(1, 1))
    # Step 0, both steps with other shapes, the one after them, and the last.
    assert (run.stats.keyframes, run.stats.jumps) == (5, 7)


def z_image(return_dict):
    torch.manual_seed(0)
    net = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=2,
        n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    ).eval()  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler()

    @torch.no_grad()
    def draw():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 4, 1, 8, 8, generator=generator)
        captions = [torch.randn(length, 16, generator=generator) for length in (5, 7)]
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            times = (1 - t / 1000).expand(2)
            score = net(list(x), times, captions, return_dict=return_dict)
            x = scheduler.step(-torch.stack(score[0]), t, x).prev_sample
        return x

    return net, scheduler, draw


@pytest.mark.parametrize("return_dict", [True, False])
def test_z_image_takes_and_returns_one_tensor_per_sample(return_dict):
    net, scheduler, draw = z_image(return_dict)
    full = draw()
    with frdiff.apply(net, frdiff.JumpPolicy(2), scheduler=scheduler) as run:
        latents = draw()
        assert torch.equal(draw(), latents)
    assert run.stats.jumps == 5
    assert 0 < (latents - full).norm() / full.norm() < 0.2
    assert torch.equal(draw(), full)
