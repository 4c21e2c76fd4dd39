"""DiT: attention, and the MLP for whole residuals. Both before their gates, which stay fresh."""

from torch import nn

from frdiff.adapters.registry import register
from frdiff.adapters.target import Target, output


@register("DiTTransformer2DModel")
def dit_targets(transformer: nn.Module, targets: str) -> list[Target]:
    """The attention output of every block ("paper"), and its MLP output too (all other sets)."""
    parts = ("attn1",) if targets == "paper" else ("attn1", "ff")
    return [
        output(f"transformer_blocks.{index}.{part}", getattr(block, part))
        for index, block in enumerate(transformer.get_submodule("transformer_blocks").children())
        for part in parts
    ]
