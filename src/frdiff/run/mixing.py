"""Mixing weights: how much of the reuse score and how much of an earlier score a step takes.

Feature reuse keeps high frequencies, reduced NFE keeps low ones. Early steps decide the coarse
picture, late ones its detail, so the weight of the reuse score ramps from 0 to 1 over the run.

References:
    FRDiff: Feature Reuse for Universal Training-free Acceleration of Diffusion Models
    (So, Lee, Park, ECCV 2024, arXiv 2312.03517), section on score mixing.
"""

__all__ = ["mixing_weight"]


def mixing_weight(step: int, num_steps: int, bias: float = 0.5, tau: float = 30.0) -> float:
    """The mixing weight in [0, 1]: 1 takes the reuse score alone, 0 jumps without a network call.

    `clip((tau * (step / num_steps - bias) + 2) / 4, 0, 1)`, a ramp of slope `tau / 4` that
    crosses 1/2 at `step / num_steps == bias`.

    Args:
        step: index in the run, 0 to `num_steps - 1`.
        num_steps: steps of the run.
        bias: where the ramp crosses 1/2, as a fraction of the run. Larger: more jumps, faster.
        tau: steepness. Larger: a sharper change from jumps to reuse.
    """
    ramp = (tau * (step / num_steps - bias) + 2.0) / 4.0
    return min(max(ramp, 0.0), 1.0)
