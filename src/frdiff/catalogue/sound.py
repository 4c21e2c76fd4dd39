"""Denoisers of sound."""

from typing import Any

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls


@calls("StableAudioDiTModel", words=130, at="the configuration's length, 47 seconds")
def stable_audio(c: Any, d: Draw) -> dict[str, Any]:
    """Stable Audio Open: text and seconds as words, one global word in front."""
    length = d.height + 1
    rotary = tuple(d.normal(length, c.attention_head_dim // 2) for _ in ("cos", "sin"))
    return {
        "hidden_states": d.normal(d.batch, c.in_channels, d.height),
        "timestep": d.time(),
        "encoder_hidden_states": d.text(c.cross_attention_input_dim),
        "global_hidden_states": d.tokens(1, c.global_states_input_dim),
        "rotary_embedding": rotary,
    }
