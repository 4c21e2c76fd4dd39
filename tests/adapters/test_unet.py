import pytest
import torch

from conftest import EMBED, make_pixel_unet, make_unet
from contract import check
from frdiff.adapters import find_targets

TEXT = {"shape": (4, 8, 8), "kwargs": {"encoder_hidden_states": torch.ones(1, 5, EMBED)}}
PIXELS = {"shape": (3, 8, 8), "kwargs": {}}


@pytest.mark.parametrize(
    "targets", ["paper", "residual", "all", ["*.attn1", "*.ff"], ["mid_block"]]
)
def test_conditional_contract(targets):
    check(make_unet, TEXT, targets)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resnet_time_scale_shift": "scale_shift"},
        {"downsample_type": "resnet", "upsample_type": "resnet"},
        {"mid_block_scale_factor": 2.0},
    ],
    ids=["plain", "scale-shift", "resnet-samplers", "scaled"],
)
@pytest.mark.parametrize("targets", ["paper", "residual", "all"])
def test_pixel_contract(changes, targets):
    check(lambda: make_pixel_unet(**changes), PIXELS, targets)


def test_paper_stops_at_conv1_and_residual_does_not():
    paper = [target.name for target in find_targets(make_unet(), "paper")]
    whole = [target.name for target in find_targets(make_unet(), "residual")]
    assert "down_blocks.0.resnets.0.conv1" in paper
    assert "down_blocks.0.resnets.0" in whole
    assert [n for n in paper if "attentions" in n] == [n for n in whole if "attentions" in n]
    assert len(paper) == len(whole) == 12


def test_linear_projections_as_in_sdxl():
    check(lambda: make_unet(use_linear_projection=True), TEXT, "residual")


def test_all_adds_the_samplers_but_not_those_inside_resnet_blocks():
    def added(model):
        whole = {target.name for target in find_targets(model, "residual")}
        return {target.name for target in find_targets(model, "all")} - whole

    assert added(make_unet()) == {"down_blocks.0.downsamplers.0", "up_blocks.0.upsamplers.0"}
    # Its attention blocks resample with ResNet blocks, which are targets themselves.
    pixel = make_pixel_unet(downsample_type="resnet", upsample_type="resnet")
    assert added(pixel) == {"down_blocks.0.downsamplers.0"}
