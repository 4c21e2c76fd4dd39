"""DiT: attention and MLP before their gates, which stay fresh, or whole blocks with them."""

from torch import nn

from frdiff.adapters.registry import register
from frdiff.adapters.target import Target, output, residual


@register("DiTTransformer2DModel")
def dit_targets(transformer: nn.Module, targets: str) -> list[Target]:
    """Every block's attention output ("paper"), its MLP output too ("residual"), or all it adds.

    "all" stores what a block adds to its input, gates included, and so skips its norms and
    modulation too: few MACs, but a good part of the seconds that a reuse step takes.
    """
    blocks = transformer.get_submodule("transformer_blocks").named_children()
    if targets == "all":
        return [residual(f"transformer_blocks.{name}", block) for name, block in blocks]
    parts = ("attn1",) if targets == "paper" else ("attn1", "ff")
    return [
        output(f"transformer_blocks.{name}.{part}", getattr(block, part))
        for name, block in blocks
        for part in parts
    ]
