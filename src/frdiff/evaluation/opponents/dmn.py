"""DMN: noise levels that make a bound on the error of a multistep solver least, without the model.

A solver of data prediction draws a weighted sum of predictions,

    x[N] = (s[N] / s[0]) x[0] + s[N] sum_n c[n] D[n],   c[n] = sum_i int exp(l) L[i, n](l) dl

with s and a the standard deviation of noise and the factor of data, l = log(a / s), the integral
over step i, and L[i, n] the Lagrange polynomials over the last one to three evaluations. If D[n] is
off by err[n], the sample is off by no more than sum_n |c[n]| err[n]. Predictions are taken to be
off by s^p / a, with p = 2 for latents and 1 for pixels.

References:
    Accelerating Diffusion Sampling with Optimized Time Steps (Xue, Liu, Chen, Zhang, Hu, Xie, Li,
    CVPR 2024, arXiv 2402.17376). As there, the first three of at most 7 steps may not cancel.
"""

import numpy as np

from frdiff.evaluation.opponents.levels import Noise

__all__ = ["dmn_levels", "error_bound"]

ORDER = 3
FEW, FIRST = 7, 3
CLOSEST = 1e-3  # of neighbours, as a share of an even step
ITERATIONS = 300
CHANGE = 1e-5  # of l, to see the slope of the bound


def dmn_levels(noise: Noise, steps: int, power: int) -> list[float]:
    """Levels of `steps` evaluations, and 0 in place of the lowest that the model knows.

    Args:
        power: p above. It also tells where the search begins: even in time (2) or in l (1).
    """
    from scipy.optimize import BFGS, LinearConstraint, minimize

    if noise.kind == "flow":
        raise ValueError("DMN's levels are for diffusion, got flow matching")
    known = -noise.known.numpy()[::-1]  # l, rising
    first, last = known[0], known[-1]
    even = np.linspace(first, last, steps + 1)
    if power == 2:
        even = np.interp(np.linspace(0, len(known) - 1, steps + 1), range(len(known)), known)

    def bounds(inner: np.ndarray) -> np.ndarray:
        ends = np.broadcast_to([first, last], (*inner.shape[:-1], 2))
        nodes = np.concatenate([ends[..., :1], inner, ends[..., 1:]], axis=-1)
        return np.log(error_bound(nodes, power))

    def slope(inner: np.ndarray) -> np.ndarray:
        changes = CHANGE * np.eye(steps - 1)
        return (bounds(inner + changes) - bounds(inner - changes)) / (2 * CHANGE)

    gaps = np.eye(steps, steps - 1) - np.eye(steps, steps - 1, -1)
    ends = np.zeros(steps)
    ends[0], ends[-1] = -first, last
    closest = CLOSEST * (last - first) / steps
    found = minimize(
        bounds,
        even[1:-1],
        method="trust-constr",
        jac=slope,
        hess=BFGS(),
        constraints=[LinearConstraint(gaps, closest - ends, np.inf, keep_feasible=True)],
        options={"maxiter": ITERATIONS},
    )
    inner = found.x if found.fun < bounds(even[1:-1]) else even[1:-1]
    return [*np.exp(-np.append(first, inner)).tolist(), 0.0]


def error_bound(nodes: np.ndarray, power: int) -> np.ndarray:
    """The bound above, but for the factor s[N], shape (...).

    Args:
        nodes: l of every evaluation and of the end, rising, shape (..., N + 1).
    """
    count = nodes.shape[-1] - 1
    table = np.zeros((count, *nodes.shape[:-1], count))
    for step in range(count):
        order = min(step + 1, ORDER, count - step)
        used = slice(step + 1 - order, step + 1)
        table[step, ..., used] = _weights(nodes[..., used], nodes[..., step + 1])
    together = FIRST if count <= FEW else 0
    totals = np.abs(table[:together]).sum(0) + np.abs(table[together:].sum(0))
    ratios = np.exp(-nodes[..., :-1])  # s / a
    errors = ratios**power * (1 + ratios**2) ** ((1 - power) / 2)
    return (totals * errors).sum(-1)


def _weights(nodes: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of every node, the integral of exp(l) times its Lagrange polynomial, from the last node."""
    start, order = nodes[..., -1:], nodes.shape[-1]
    length = (end[..., None] - start)[..., 0]
    moments = [np.expm1(length)]  # of exp(l - start) (l - start)^k
    for k in range(1, order):
        moments.append(length**k * np.exp(length) - k * moments[-1])
    powers = (nodes - start)[..., None, :] ** np.arange(order)[:, None]
    weights = np.linalg.solve(powers, np.stack(moments, axis=-1)[..., None])[..., 0]
    return np.exp(start) * weights
