"""U-Nets: ResNet blocks and transformers. Down- and up-samplers and embeddings always run."""

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from frdiff.adapters.registry import register
from frdiff.adapters.target import Target, output, whole_residual


@register("UNet2DConditionModel", "UNet2DModel")
def unet_targets(unet: nn.Module, targets: str) -> list[Target]:
    """Transformer residuals, and of ResNet blocks `conv1` ("paper") or the branch ("residual")."""
    found = []
    for name, module in unet.named_modules():
        if isinstance(module, ResnetBlock2D) and targets == "paper":
            # Stopping at conv1 lets the time embedding of the current step enter after it.
            found.append(output(f"{name}.conv1", module.conv1))
        elif isinstance(module, ResnetBlock2D | Transformer2DModel) or (
            isinstance(module, Attention) and module.residual_connection
        ):
            found.append(whole_residual(name, module))
    return found
