"""AYS: the noise levels that were optimised for Stable Diffusion and published as a list.

References:
    Align Your Steps: Optimizing Sampling Schedules in Diffusion Models (Sabour, Fidler, Kreis,
    ICML 2024, arXiv 2404.14507). For other counts the authors interpolate the logarithms of the
    levels linearly over their place in the list.
"""

import numpy as np
import torch
from diffusers.schedulers import AysSchedules

from frdiff.evaluation.opponents.levels import Noise

__all__ = ["TIMES", "ays_levels"]

# Of ten evaluations.
TIMES = tuple(AysSchedules["StableDiffusionTimesteps"])
# The first and the last level that the list was made for.
ENDS = torch.tensor([0.0292, 14.6146], dtype=torch.float64)


def ays_levels(noise: Noise, steps: int) -> list[float]:
    """Levels of `steps` evaluations, and 0 in place of the lowest that the model knows.

    Raises:
        ValueError: a model that was trained on other levels than Stable Diffusion 1.
    """
    known = noise.known.exp()
    if noise.kind == "flow" or not torch.allclose(known[[0, -1]], ENDS, rtol=1e-2):
        raise ValueError(
            "the AYS list is for noise levels from 14.61 to 0.029, as Stable Diffusion 1 has them"
        )
    logs = np.append(noise.known[list(TIMES)].numpy(), noise.known[0].item())
    places = np.linspace(0, len(logs) - 1, steps + 1)
    levels = np.exp(np.interp(places, range(len(logs)), logs))
    return [*levels[:-1].tolist(), 0.0]
