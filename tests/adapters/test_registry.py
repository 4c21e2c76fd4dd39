import pytest
from torch import nn

from conftest import make_unet
from frdiff.adapters import find_targets, known_models


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


def test_known_models():
    assert known_models() == ["DiTTransformer2DModel", "UNet2DConditionModel", "UNet2DModel"]


def test_unknown_model_is_told_what_to_do():
    with pytest.raises(ValueError, match=r"no adapter for Unknown; known: DiT.*UNet2D.*wildcards"):
        find_targets(Unknown(), "paper")


def test_unknown_model_takes_wildcards():
    assert [target.name for target in find_targets(Unknown(), ["lay*"])] == ["layer"]


def test_a_wildcard_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'\*\.attn9' matches no module.*names such"):
        find_targets(make_unet(), ["*.attn1", "*.attn9"])


def test_a_known_model_without_targets_is_an_error():
    class UNet2DModel(nn.Module):
        pass

    with pytest.raises(ValueError, match="nothing would be reused"):
        find_targets(UNet2DModel(), "paper")


def test_subclasses_use_their_parents_adapter():
    class MyUNet(type(make_unet())):
        pass

    model = make_unet()
    model.__class__ = MyUNet
    assert len(find_targets(model, "residual")) == 12


def test_of_nested_matches_the_outermost_counts():
    names = [target.name for target in find_targets(make_unet(), ["mid_block*"])]
    assert names == ["mid_block"]


@pytest.mark.parametrize("patterns", [["down_blocks*", "up_blocks*"], ["*"]])
def test_lists_of_modules_are_no_targets_but_what_is_in_them_is(patterns):
    names = [target.name for target in find_targets(make_unet(), patterns)]
    assert "down_blocks.0" in names and "up_blocks.1" in names
    assert not {"down_blocks", "up_blocks"} & set(names)


def test_a_wildcard_that_matches_lists_alone_is_an_error():
    with pytest.raises(ValueError, match="matches no module"):
        find_targets(make_unet(), ["*.to_out"])
