import pytest
import torch

from conftest import EMBED, make_pixel_unet, make_unet
from contract import check
from frdiff.adapters import find_targets

TEXT = {"shape": (4, 8, 8), "kwargs": {"encoder_hidden_states": torch.ones(1, 5, EMBED)}}
PIXELS = {"shape": (3, 8, 8), "kwargs": {}}


@pytest.mark.parametrize("targets", ["paper", "residual", ["*.attn1", "*.ff"], ["mid_block"]])
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
@pytest.mark.parametrize("targets", ["paper", "residual"])
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
