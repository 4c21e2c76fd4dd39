"""Denoisers are found by what they are, whatever their pipeline calls them."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DiffusionPipeline,
    MotionAdapter,
    PriorTransformer,
    StableCascadeUNet,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    WanTransformer3DModel,
)
from torch import nn

import frdiff
from conftest import ddim, make_dit, make_unet, make_vae
from frdiff.network.denoisers import find_denoisers

POLICY = frdiff.JumpPolicy(2)


class Parts(DiffusionPipeline):
    """A pipeline of whatever it is given."""

    def __init__(self, **parts):
        super().__init__()
        self.register_modules(**parts)


class Scored(nn.Module):
    """A denoiser of somebody's own."""

    def forward(self, x, sigma):
        return x * sigma


def found(**parts):
    pipe = Parts(**{name: None for name in parts})
    for name, part in parts.items():
        setattr(pipe, name, part)
    return list(find_denoisers(pipe))


def make_prior():
    torch.manual_seed(0)
    return PriorTransformer(
        num_attention_heads=2, attention_head_dim=4, num_layers=2, embedding_dim=8,
        num_embeddings=3, additional_embeddings=4,
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    "cls",
    [UNet2DConditionModel, UNet2DModel, WanTransformer3DModel, PriorTransformer, StableCascadeUNet],
)
@pytest.mark.parametrize("name", ["unet", "prior", "decoder", "image_unet", "anything"])
def test_by_class(cls, name):
    part = object.__new__(cls)
    nn.Module.__init__(part)
    assert found(**{name: part}) == [name]


def test_what_is_no_denoiser_is_left_alone():
    vae = make_vae()
    assert isinstance(vae, AutoencoderKL)
    control = ControlNetModel.from_unet(make_unet())
    others = {"vae": vae, "decoder": vae.decoder, "controlnet": control, "adapter": nn.Identity()}
    adapter = MotionAdapter((8,), motion_layers_per_block=1, motion_norm_num_groups=2)
    assert found(**others, motion_adapter=adapter, unet=make_unet(), mine=Scored()) == [
        "unet",
        "mine",
    ]
    with pytest.raises(ValueError, match="no denoiser, a network with an input that tells"):
        found(**others)


def test_lists_are_numbered():
    assert found(experts=[make_dit(), make_dit()], vae=make_vae()) == ["experts.0", "experts.1"]


def test_a_prior_is_stepped_by_its_own_scheduler():
    parts = {"prior_prior": make_prior(), "unet": make_unet()}
    schedulers = {"prior_scheduler": UnCLIPScheduler(), "scheduler": ddim()}
    pipe = Parts(**parts, **schedulers)
    assert list(find_denoisers(pipe)) == ["unet"]
    assert list(find_denoisers(pipe, pipe.prior_scheduler)) == ["prior_prior"]
    with frdiff.apply(pipe, POLICY), frdiff.apply(pipe, POLICY, scheduler=pipe.prior_scheduler):
        assert "forward" in pipe.unet.__dict__
        assert "forward" in pipe.prior_prior.__dict__
        assert "step" in pipe.scheduler.__dict__
        assert "step" in pipe.prior_scheduler.__dict__


def test_a_pipeline_without_a_main_scheduler_says_what_to_pass():
    pipe = Parts(transformer=make_dit(), one_scheduler=ddim(), other_scheduler=ddim())
    with pytest.raises(ValueError, match=r"scheduler=pipe\.one_scheduler or scheduler=pipe\.other"):
        frdiff.apply(pipe, POLICY)
    frdiff.apply(pipe, POLICY, scheduler=pipe.one_scheduler).remove()
    alone = Parts(transformer=make_dit())
    with pytest.raises(ValueError, match=r"no component `scheduler`; pass the one.*scheduler=\.\."):
        frdiff.apply(alone, POLICY)
    frdiff.apply(alone, POLICY, scheduler=ddim()).remove()


def test_a_network_with_two_names_is_patched_once():
    unet = make_unet()
    with frdiff.apply(Parts(unet=unet, painter=unet, scheduler=ddim()), POLICY) as run:
        assert [patch.denoiser for patch in run.patches] == [unet]
