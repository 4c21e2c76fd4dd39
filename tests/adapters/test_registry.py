import pytest
from torch import nn

import frdiff
from conftest import make_unet
from frdiff.adapters import find_targets, whole


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


def test_a_model_without_blocks_is_told_what_to_do():
    with pytest.raises(ValueError, match=r"Unknown has no targets 'paper'.*wildcards.*register_ad"):
        find_targets(Unknown(), "paper")


def test_an_adapter_of_ones_own():
    class Mine(Unknown):
        pass

    @frdiff.register_adapter("Mine")
    def mine(denoiser, targets):
        return [whole("layer", denoiser.layer)]

    assert [target.name for target in find_targets(Mine(), "all")] == ["layer"]


def test_unknown_model_takes_wildcards():
    assert [target.name for target in find_targets(Unknown(), ["lay*"])] == ["layer"]


def test_a_wildcard_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'\*\.attn9' matches no module.*names such"):
        find_targets(make_unet(), ["*.attn1", "*.attn9"])


def test_subclasses_have_the_targets_of_their_parents():
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


def test_a_wildcard_that_matches_lists_alone_names_what_is_in_them():
    with pytest.raises(ValueError, match=r"a list of modules.*choose modules.*to_out\.0"):
        find_targets(make_unet(), ["*.to_out"])


def test_a_list_may_name_a_set_and_exceptions():
    unet = make_unet()
    whole = [target.name for target in find_targets(unet, "all")]
    found = find_targets(unet, ["<all>", "!up_blocks.1.*", "!mid_block.resnets.0"])
    left = [name for name in whole if not name.startswith("up_blocks.1.")]
    assert [target.name for target in found] == [n for n in left if n != "mid_block.resnets.0"]
    found = find_targets(unet, ["*.resnets.*", "!mid*"])
    assert found and all("resnets" in target.name for target in found)
    assert not any(target.name.startswith("mid") for target in found)
    with pytest.raises(ValueError, match=r"'!nothing' matches no target .* names such as"):
        find_targets(unet, ["<all>", "!nothing"])
    with pytest.raises(ValueError, match="has no targets"):
        find_targets(unet, ["<all>", "!*"])
