"""Every scheduler of diffusers that has a `step`: jumps, reuse and mixing, steps counted right.

What the denoiser answers is turned into what the scheduler takes, where that is no picture.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import pytest
import torch
from diffusers import SchedulerMixin, SD3Transformer2DModel
from diffusers.utils import is_torchsde_available

import frdiff
from conftest import EMBED, make_unet

STEPS = 12
POLICIES = {
    "jumps": frdiff.JumpPolicy(2),
    "reuse": frdiff.UniformPolicy(3, forecast=1, mixing=False, targets="all"),
    "mixing": frdiff.UniformPolicy(2, bias=0.5),
}
FLOW = {
    "FlowMapEulerDiscreteScheduler": {},
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
    "FlowMatchHeunDiscreteScheduler": {},
    "FlowMatchLCMScheduler": {},
    "HeliosScheduler": {},
    "LTXEulerAncestralRFScheduler": {},
    "MiniMaxH3Scheduler": {},
    "DEISMultistepScheduler": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    "DPMSolverMultistepScheduler": {
        "use_flow_sigmas": True,
        "prediction_type": "flow_prediction",
        "flow_shift": 3.0,
    },
    "SASolverScheduler": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    "UniPCMultistepScheduler": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
}
NO_STEP = {
    "ScoreSdeVeScheduler": "it predicts and corrects, with step_pred and step_correct",
    "ScoreSdeVpScheduler": "it has step_pred alone",
}
NEEDS_TORCHSDE = {"CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler"}


def classes():
    found = {}
    for module in pkgutil.walk_packages(diffusers.schedulers.__path__, "diffusers.schedulers."):
        if "flax" in module.name:
            continue
        try:
            members = vars(importlib.import_module(module.name))
        except ImportError:
            assert not is_torchsde_available()
            continue
        found |= {
            name: cls
            for name, cls in members.items()
            if inspect.isclass(cls)
            and issubclass(cls, SchedulerMixin)
            and cls is not SchedulerMixin
            and cls.__module__ == module.name
        }
    return found


CLASSES = classes()


def one_hot(tokens):
    """Tokens of 0 to 3, shape (1, 64), as a picture."""
    return torch.nn.functional.one_hot(tokens, 4).float().transpose(1, 2).reshape(1, 4, 8, 8)


def logits(score):
    """A picture as logits of 64 tokens."""
    return score.flatten(2).transpose(1, 2)


def same(value: Any) -> Any:
    return value


def begin_tokens(generator):
    return torch.randint(0, 4, (1, 64), generator=generator)


def begin_picture(generator):
    return torch.randn(1, 4, 8, 8, generator=generator)


@dataclass(frozen=True)
class Way:
    """How a loop drives a scheduler that no plain loop drives.

    Attributes:
        options: of its constructor.
        timesteps: further arguments of `set_timesteps`.
        left_out: timesteps at the end at which the loop does not step.
        steps: to ask for.
        begin: the first sample, from a generator.
        picture: the denoiser's input, from the sample.
        output: what the scheduler takes, from the denoiser's answer.
        step: further arguments of `step`.
        time: what it gets as the timestep.
    """

    options: dict[str, Any] = field(default_factory=dict)
    timesteps: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0
    steps: int = STEPS
    begin: Callable[..., Any] = begin_picture
    picture: Callable[..., Any] = same
    output: Callable[..., Any] = same
    step: dict[str, Any] = field(default_factory=dict)
    time: Callable[..., Any] = same


TOKENS = {"begin": begin_tokens, "picture": one_hot, "output": logits}
PROTEIN = {
    "schedule_mode": "log",
    "noise_mode": "1/t",
    "tsr_k": 1.0,
    "tsr_sigma": 1.0,
    "tail_steps": 2,
}
WAYS = {
    "AmusedScheduler": Way(
        {"mask_token_id": 4},
        begin=lambda generator: torch.full((1, 64), 4),
        picture=lambda tokens: one_hot(tokens.clamp(max=3)),
        output=logits,
    ),
    "BlockRefinementScheduler": Way(**TOKENS, step={"mask_token_id": 3}),
    "ConsistencyDecoderScheduler": Way(steps=2),
    "DDPMWuerstchenScheduler": Way(left_out=1, time=lambda t: t.expand(1)),
    "DiscreteDDIMScheduler": Way(**TOKENS),
    "EntropyBoundScheduler": Way(**TOKENS),
    "HeliosScheduler": Way(timesteps={"stage_index": 0}),
    "HeliosDMDScheduler": Way(
        timesteps={"stage_index": 0},
        begin=lambda generator: begin_picture(generator)[:, :, None],
        picture=lambda video: video[:, :, 0],
        output=lambda score: score[:, :, None],
        step={
            "cur_sampling_step": STEPS - 1,
            "dmd_noisy_tensor": torch.ones(1, 4, 1, 8, 8),
            "dmd_sigmas": torch.linspace(1, 0, 1000),
            "dmd_timesteps": torch.linspace(1000, 1, 1000),
            "all_timesteps": torch.linspace(1000, 1, STEPS),
        },
    ),
    "PiflowScheduler": Way({"n_grid": 2}, output=lambda score: torch.cat([score, score], dim=-1)),
    "RePaintScheduler": Way(
        timesteps={"jump_length": 1, "jump_n_sample": 1},
        step={"original_image": torch.ones(1, 4, 8, 8), "mask": torch.ones(1, 1, 8, 8)},
    ),
    "RFD4ProteinaScheduler": Way(
        PROTEIN,
        begin=lambda generator: torch.randn(1, 64, 4, generator=generator),
        picture=lambda x: x.transpose(1, 2).reshape(1, 4, 8, 8),
        output=logits,
        step={"emit_mask": torch.ones(1, 64, dtype=torch.bool)},
    ),
    "SCMScheduler": Way(timesteps={"intermediate_timesteps": None}, left_out=1),
    "VQDiffusionScheduler": Way(
        {"num_vec_classes": 5},
        begin=lambda generator: torch.full((1, 64), 4),
        picture=lambda tokens: one_hot(tokens.clamp(max=3)),
        output=lambda score: score.flatten(2).log_softmax(dim=1),
    ),
}


class Unet:
    """The tiny U-Net, as a denoiser of pictures."""

    def __init__(self):
        self.net = make_unet()

    def __call__(self, x, t, text):
        return self.net(x, t, text).sample


class Flow:
    """A tiny transformer of flow matching."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=EMBED, caption_projection_dim=16,
            pooled_projection_dim=EMBED, out_channels=4, pos_embed_max_size=8,
        ).eval()  # fmt: skip

    def __call__(self, x, t, text):
        return self.net(x, text, text[:, 0], t.expand(len(x))).sample


@torch.no_grad()
def draw(denoise, scheduler, way):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    x = way.begin(generator)
    text = torch.randn(1, 5, EMBED, generator=generator)
    scheduler.set_timesteps(way.steps, **way.timesteps)
    x = x * getattr(scheduler, "init_noise_sigma", 1)
    accepted = inspect.signature(scheduler.step).parameters
    timesteps, old = scheduler.timesteps, None
    for i, t in enumerate(timesteps[: len(timesteps) - way.left_out]):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "betas") else x
        score = way.output(denoise(way.picture(scaled), way.time(t), text))
        if "sigma_hat" in accepted:
            sigmas = scheduler.schedule
            result = scheduler.step(score, sigmas[t], sigmas[t - 1] if t else 0 * sigmas[t], x)
        elif "old_pred_original_sample" in accepted:
            back = timesteps[i - 1] if i else None
            x, old = scheduler.step(score, old, t, back, x, return_dict=False)
            continue
        else:
            options = {"generator": generator} if "generator" in accepted else {}
            result = scheduler.step(score, way.time(t), x, **options, **way.step)
        x = result.prev_sample if hasattr(result, "prev_sample") else result[0]
    return x


def check(make, scheduler, way, policy):
    denoise = make()
    full = draw(denoise, scheduler, way)
    with frdiff.apply(denoise.net, policy, scheduler=scheduler) as run:
        drawn = draw(denoise, scheduler, way)
        stats, plan = run.stats, run.plan
        assert stats.steps == len(scheduler.timesteps) - way.left_out
        assert stats.keyframes == sum(index < stats.steps for index in plan.keyframes)
        assert stats.keyframes + stats.reuse_steps + stats.jumps == stats.steps
        assert stats.macs_ratio < 1 or stats.steps == 2
        assert way.left_out or stats.bank_bytes == 0
        assert torch.isfinite(drawn.float()).all()
        assert torch.equal(draw(denoise, scheduler, way), drawn)
    assert torch.equal(draw(denoise, scheduler, way), full)


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*expect little speed-up"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", sorted(CLASSES.keys() - NO_STEP.keys()))
def test_with_a_unet(name, policy):
    way = WAYS.get(name, Way())
    check(Unet, CLASSES[name](**way.options), way, POLICIES[policy])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", FLOW)
def test_with_a_transformer(name, policy):
    way = WAYS.get(name, Way())
    policy = POLICIES[policy]
    check(Flow, CLASSES[name](**FLOW[name]), way, policy)


@pytest.mark.parametrize("name", NO_STEP)
def test_those_without_a_step_are_refused(name):
    unet = make_unet()
    with pytest.raises(ValueError, match=f"{name} has no step, so its loop's steps cannot be told"):
        frdiff.apply(unet, POLICIES["jumps"], scheduler=CLASSES[name]())
    assert "forward" not in vars(unet)


def test_all_of_diffusers_are_here():
    named = {
        name
        for name in dir(diffusers)
        if name.endswith("Scheduler") and "Flax" not in name and name not in NEEDS_TORCHSDE
    }
    assert named - {"SchedulerMixin"} <= CLASSES.keys() | NO_STEP.keys()
    assert len(CLASSES) >= 49
