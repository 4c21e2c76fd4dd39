"""STAND-INS for the interfaces of ComfyUI that the node uses; not ComfyUI, and no code of it.

They follow what its source documents: `ModelPatcher` holds wrappers by place and key, a guider asks
for the sample at each sigma, conditions come with an id each and are batched as memory allows, and
the network gets `transformer_options`. The network itself is a tiny U-Net of diffusers.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import torch
from torch import nn


class WrappersMP:
    """The places of wrappers, by the names that they have in ComfyUI."""

    OUTER_SAMPLE = "outer_sample"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    APPLY_MODEL = "apply_model"
    DIFFUSION_MODEL = "diffusion_model"


def install() -> None:
    """Let `from comfy.patcher_extension import WrappersMP` work."""
    comfy, extension = ModuleType("comfy"), ModuleType("comfy.patcher_extension")
    extension.WrappersMP = WrappersMP
    comfy.patcher_extension = extension
    sys.modules |= {"comfy": comfy, "comfy.patcher_extension": extension}


class Executor:
    """Calls the wrappers one within another, and the original within all."""

    def __init__(self, original: Callable, owner: Any, wrappers: list[Callable]) -> None:
        self.original, self.class_obj, self.wrappers = original, owner, wrappers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.wrappers:
            return self.original(*args, **kwargs)
        first, *rest = self.wrappers
        return first(Executor(self.original, self.class_obj, rest), *args, **kwargs)


class Network(nn.Module):
    """What ComfyUI calls a diffusion model, with its names of inputs."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.calls = 0

    def forward(
        self, x, timesteps=None, context=None, control=None, transformer_options=None, **kwargs
    ):
        self.calls += len(x)
        return self.unet(x, timesteps, context).sample


class Sampling:
    """Noise levels of Stable Diffusion, and what the network predicts of them: the noise."""

    def __init__(self, scheduler: Any) -> None:
        kept = scheduler.alphas_cumprod.double()
        self.levels = ((1 - kept) / kept).sqrt().log()

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        rows = sigma.double().log().reshape(-1)
        above = torch.searchsorted(self.levels, rows).clamp(1, len(self.levels) - 1)
        low, high = self.levels[above - 1], self.levels[above]
        return (above - 1 + ((rows - low) / (high - low)).clamp(0, 1)).reshape(sigma.shape)

    def calculate_input(self, sigma: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x / (sigma.reshape(-1, 1, 1, 1) ** 2 + 1) ** 0.5


class BaseModel:
    """A network with its noise levels."""

    def __init__(self, network: nn.Module, sampling: Sampling) -> None:
        self.diffusion_model, self.model_sampling = network, sampling

    def apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None
    ):
        wrappers = transformer_options["wrappers"].get(WrappersMP.APPLY_MODEL, {})
        flat = [one for row in wrappers.values() for one in row]
        executor = Executor(self._apply_model, self, flat)
        return executor(x, t, c_concat, c_crossattn, control, transformer_options)

    def _apply_model(self, x, t, c_concat, c_crossattn, control, transformer_options):
        scaled = self.model_sampling.calculate_input(t, x)
        noise = self.diffusion_model(
            scaled,
            self.model_sampling.timestep(t).float(),
            context=c_crossattn,
            control=control,
            transformer_options=transformer_options.copy(),
        )
        return x - noise * t.reshape(-1, 1, 1, 1)


class ModelPatcher:
    """A model, shared by its clones, and wrappers, which are each clone's own."""

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self.wrappers: dict[str, dict[str, list[Callable]]] = {}

    def clone(self) -> "ModelPatcher":
        copied = ModelPatcher(self.model)
        copied.wrappers = {
            place: {key: list(row) for key, row in rows.items()}
            for place, rows in self.wrappers.items()
        }
        return copied

    def add_wrapper_with_key(self, place: str, key: str, wrapper: Callable) -> None:
        self.wrappers.setdefault(place, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, place: str, key: str) -> None:
        self.wrappers.get(place, {}).pop(key, None)


@dataclass(frozen=True)
class Condition:
    """A prompt, and the sigmas between which it counts."""

    context: torch.Tensor
    start: float = float("inf")
    end: float = 0.0
    uuid: UUID = field(default_factory=uuid4)


class Guider:
    """Classifier-free guidance over conditions that are batched, or not.

    Args:
        batched, turned: of the number of the evaluation, whether both halves fit one call, and
            whether they come the other way round.
    """

    def __init__(
        self,
        patcher: ModelPatcher,
        positive: Condition,
        negative: Condition,
        scale: float = 3.0,
        batched: Callable[[int], bool] = lambda number: True,
        turned: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self.model_patcher, self.scale = patcher, scale
        self.batched, self.turned = batched, turned
        self.conditions = [(1, negative), (0, positive)]
        self.number = 0

    def sample(self, sampler: Callable, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        self.inner_model = self.model_patcher.model
        self.options = {"wrappers": self.model_patcher.wrappers, "sample_sigmas": sigmas}
        owner = SimpleNamespace(sample=sampler)
        executor = Executor(sampler, owner, self._wrappers(WrappersMP.SAMPLER_SAMPLE))
        with torch.inference_mode():
            return executor(self, sigmas, {}, None, noise, None, None, True)

    def _wrappers(self, place: str) -> list[Callable]:
        return [one for row in self.model_patcher.wrappers.get(place, {}).values() for one in row]

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        executor = Executor(self._predict, self, self._wrappers(WrappersMP.PREDICT_NOISE))
        return executor(x, sigma, {}, None)

    def _predict(self, x, sigma, model_options, seed):
        number, self.number = self.number, self.number + 1
        rows = [row for row in self.conditions if row[1].start >= float(sigma[0]) >= row[1].end]
        if self.turned(number):
            rows.reverse()
        groups = [rows] if self.batched(number) else [[row] for row in rows]
        found = {}
        for group in filter(None, groups):
            options = self.options | {
                "cond_or_uncond": [kind for kind, _ in group],
                "uuids": [condition.uuid for _, condition in group],
                "sigmas": sigma,
            }
            context = torch.cat([condition.context for _, condition in group])
            many = len(group)
            result = self.inner_model.apply_model(
                torch.cat([x] * many),
                torch.cat([sigma] * many),
                c_crossattn=context,
                transformer_options=options,
            )
            found |= {kind: part for (kind, _), part in zip(group, result.chunk(many), strict=True)}
        if len(found) < 2:
            return next(iter(found.values()))
        return found[1] + self.scale * (found[0] - found[1])


def euler(guider, sigmas, extra_args, callback, noise, *rest):
    """One evaluation a step."""
    x = noise * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, following in pairwise(sigmas):
        denoised = guider(x, sigma.expand(len(x)))
        x = x + (x - denoised) / sigma * (following - sigma)
        if callback is not None:
            callback(x)
    return x


def heun(guider, sigmas, extra_args, callback, noise, *rest):
    """Two evaluations a step, one in the last."""
    x = noise * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, following in pairwise(sigmas):
        slope = (x - guider(x, sigma.expand(len(x)))) / sigma
        if following > 0:
            ahead = x + slope * (following - sigma)
            slope = (slope + (ahead - guider(ahead, following.expand(len(x)))) / following) / 2
        x = x + slope * (following - sigma)
    return x
