"""U-Nets: ResNet blocks, transformers and, for "all", down- and up-samplers."""

from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn

from frdiff.adapters.registry import register
from frdiff.adapters.target import Target, copied_output, output, whole_residual


@register("UNet2DConditionModel", "UNet2DModel")
def unet_targets(unet: nn.Module, targets: str) -> list[Target]:
    """Transformer residuals, and of ResNet blocks `conv1` ("paper") or the branch ("residual").

    "all" adds the outputs of down- and up-samplers. Behind an up-sampler only the skip connections
    are then fresh, down to the finest level; its convolution is most of what is left to save.
    """
    found = []
    for name, module in unet.named_modules():
        if isinstance(module, ResnetBlock2D) and targets == "paper":
            # Stopping at conv1 lets the time embedding of the current step enter after it.
            found.append(output(f"{name}.conv1", module.conv1))
        elif isinstance(module, ResnetBlock2D | Transformer2DModel) or (
            isinstance(module, Attention) and module.residual_connection
        ):
            found.append(whole_residual(name, module))
        elif (
            targets == "all"
            and isinstance(module, Downsample2D | Upsample2D)
            and not isinstance(unet.get_submodule(name.rpartition(".")[0]), ResnetBlock2D)
        ):
            found.append(copied_output(name, module))
    return found
