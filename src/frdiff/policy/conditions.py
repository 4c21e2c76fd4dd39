"""Conditions: what a run is made under that its policy does not decide.

A policy is tuned under some: at a guidance scale, a size, a type of numbers. Under others it may do
worse than fewer steps in full, so a run compares them with those that it finds.
"""

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor, nn

from frdiff.policy.checks import check_float, check_int, check_text, checked_list

__all__ = ["GUIDANCE", "Conditions", "conditions_of", "scales_in"]

GUIDANCE = "guidance_scale"
SCALE = re.compile(r"\w*(guidance|cfg|pag|stg)_scale\w*")
MAX_SCALES = 20
MAX_DIMENSIONS = 10


@dataclass(frozen=True)
class Conditions:
    """What a run is made under.

    Attributes:
        scales: the arguments of a pipeline's call that say how strongly it guides, by name; none
            in a loop of somebody's own.
        sample: shape of one sample as the denoiser gets it.
        dtype: of the sample.
        weights: types of the denoiser's weights, such as `"bfloat16"`; of quantised ones the class
            too.
    """

    scales: Mapping[str, float] = field(hash=False)
    sample: tuple[int, ...]
    dtype: str
    weights: str

    def __post_init__(self) -> None:
        if not isinstance(self.scales, Mapping) or len(self.scales) > MAX_SCALES:
            raise ValueError(f"scales must be an object of at most {MAX_SCALES}, got {self.scales}")
        for name, scale in self.scales.items():
            check_text("the name of a scale", name)
            check_float(name, scale, -1e6, 1e6)
        sizes = checked_list("sample", self.sample)
        if len(sizes) > MAX_DIMENSIONS:
            raise ValueError(f"sample must have at most {MAX_DIMENSIONS} sizes, got {len(sizes)}")
        for size in sizes:
            check_int("a size of the sample", size, 0, 2**40)
        object.__setattr__(self, "sample", tuple(sizes))
        check_text("dtype", self.dtype)
        check_text("weights", self.weights)

    def unlike(self, found: "Conditions") -> list[str]:
        """In words, what is not as here, but for `guidance_scale`: policies may cover a range."""
        said = [
            f"{name} is {found.scales[name]:g}, not {scale:g}"
            for name, scale in self.scales.items()
            if name != GUIDANCE and found.scales.get(name, scale) != scale
        ]
        if found.sample != self.sample:
            times = math.prod(found.sample) / max(math.prod(self.sample), 1)
            own, other = ("x".join(map(str, one.sample)) for one in (self, found))
            said.append(f"samples are {other}, not {own}: {times:.2g} times the size")
        if found.dtype != self.dtype:
            said.append(f"samples are {found.dtype}, not {self.dtype}")
        if found.weights != self.weights:
            said.append(f"weights are {found.weights}, not {self.weights}")
        return said


def conditions_of(
    denoiser: nn.Module, sample: Tensor | None, scales: Mapping[str, float]
) -> Conditions:
    """The conditions of a call of a denoiser.

    Args:
        sample: that it was given; None if there is none.
        scales: see `scales_in`.
    """
    shape = () if sample is None else tuple(sample.shape[1:])
    dtype = "unknown" if sample is None else _name(sample.dtype)
    return Conditions(scales, shape, dtype, _weights(denoiser))


def scales_in(frame: FrameType | None) -> dict[str, float]:
    """The guidance scales among the arguments of a call that is being made, as they are now.

    A modular pipeline has a guider that knows its own.
    """
    if frame is None:
        return {}
    names, _, others, values = inspect.getargvalues(frame)
    given = {name: values.get(name) for name in names}
    if others is not None:
        given |= values[others]  # a pipeline around another hands on what it does not name
    guider = getattr(given.get("self"), "guider", None)
    if guider is not None:
        given[GUIDANCE] = getattr(guider, GUIDANCE, None)
    return {
        name: float(value)
        for name, value in given.items()
        if SCALE.fullmatch(name) and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _weights(denoiser: nn.Module) -> str:
    """The types of its matrices; vectors such as norms are often kept in others."""
    kinds = {
        _name(weight.dtype) + _class(weight)
        for module in denoiser.modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.dim() > 1
    }
    return " + ".join(sorted(kinds)) or "unknown"


def _class(weight: Tensor) -> str:
    """What holds a weight, if that is no plain tensor; not how it is spread over devices."""
    name = type(weight).__name__
    return "" if name in ("Tensor", "Parameter", "DTensor") else f" ({name})"


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
