"""Seeded sampling from any pipeline."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DiffusionPipeline, DiTPipeline
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from frdiff.choices import SCHEDULERS
from frdiff.policy.checks import checked_list, quote
from frdiff.schedulers.named import (
    CONVERGED,
    CONVERGED_STEPS,
    interchangeable,
    scheduler_name,
    set_scheduler,
)

__all__ = [
    "CONVERGED",
    "CONVERGED_STEPS",
    "REFUSALS",
    "SCHEDULERS",
    "Call",
    "NoArrayError",
    "as_array",
    "asks_for_number",
    "calls_for",
    "check_inputs",
    "checked_prompts",
    "interchangeable",
    "needs_prompts",
    "sample",
    "scheduler_name",
    "set_scheduler",
]

# What pipelines raise that make no batch of what they are asked for.
REFUSALS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class NoArrayError(TypeError):
    """Of what a pipeline returns no array can be made."""


def sample(
    pipe: DiffusionPipeline,
    prompts: Sequence[str | int],
    *,
    steps: int,
    seed: int = 0,
    guidance: float | None = None,
    output_type: str = "np",
    inputs: Mapping[str, Any] = MappingProxyType({}),
) -> np.ndarray:
    """One sample per prompt; sample i depends on `seed + i` alone.

    All are drawn in one batch where the pipeline makes one of them, else one after another.

    Args:
        prompts: texts for a pipeline that draws from texts; class numbers or label names for a
            class-conditional one; for others only their number counts.
        steps: `num_inference_steps`.
        guidance: guidance scale; None takes the pipeline's default.
        output_type: `"np"` gives pictures (N, H, W, 3) and videos (N, frames, H, W, 3), float32
            in [0, 1], sounds (N, ...), or whatever comes first of what the pipeline returns;
            `"latent"` the latents, as an array too, where the pipeline offers them.
        inputs: further arguments of the pipeline, such as a picture to start from or prompt
            embeddings; they come before what is said here.

    Raises:
        TypeError: prompts that are no list, or neither texts nor numbers.
        ValueError: no prompts, inputs that the pipeline lacks or does not take, or class labels
            that the model does not have.
        NoArrayError: of what the pipeline returns no array can be made.
    """
    texts = checked_prompts(prompts)
    if not texts:
        raise ValueError("give at least one prompt")
    check_inputs(pipe, inputs)

    def drawn(per_call: int | None) -> np.ndarray:
        calls = calls_for(texts, seed, per_call)
        made = (call.draw(pipe, steps, guidance, output_type, inputs) for call in calls)
        return np.concatenate([as_array(result)[: per_call or None] for result in made])

    if len(texts) > 1 and asks_for_number(pipe, inputs):
        try:
            samples = drawn(None)
            if len(samples) == len(texts):
                return samples
        except REFUSALS:
            pass  # one alone says what is wrong, if anything is
    return drawn(1)


@dataclass(frozen=True)
class Call:
    """One pipeline call.

    Attributes:
        prompts: one per sample; where the inputs decide how many there are, the first counts.
        seeds: of the samples.
        together: whether as many samples are asked for as there are prompts.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    together: bool

    def draw(
        self,
        pipe: DiffusionPipeline,
        steps: int,
        guidance: float | None = None,
        output_type: str = "np",
        inputs: Mapping[str, Any] = MappingProxyType({}),
        gradient: bool = False,
    ) -> Any:
        """What the pipeline returns; see `sample`.

        `DDIMPipeline` and `DiTPipeline` are made for DDIM; with a scheduler that takes other
        arguments or another scale of noise, a loop over the same networks stands in for theirs.

        Args:
            gradient: let gradients through the loop, which pipelines do not by themselves.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        unconditional = isinstance(pipe, DDIMPipeline | DDPMPipeline)
        if unconditional and type(pipe.scheduler) is not DDIMScheduler:
            with torch.set_grad_enabled(gradient):
                return _loop_unconditional(pipe, generators, steps)
        if isinstance(pipe, DiTPipeline) and pipe.scheduler.init_noise_sigma != 1:
            labels = [_label(pipe, prompt) for prompt in self.prompts]
            scale = 4.0 if guidance is None else guidance
            with torch.set_grad_enabled(gradient):
                return _loop_classes(pipe, generators, steps, labels, scale)
        accepted = inspect.signature(pipe).parameters
        arguments = self._asked(pipe, inputs)
        arguments[_steps_name(pipe)] = steps
        arguments["generator"] = generators if len(generators) > 1 else generators[0]
        if guidance is not None and "guidance_scale" in accepted:
            arguments["guidance_scale"] = guidance
        if "output_type" in accepted:
            arguments["output_type"] = output_type
        arguments |= inputs
        if gradient:
            return inspect.unwrap(type(pipe).__call__)(pipe, **arguments)
        return pipe(**arguments)

    def _asked(self, pipe: DiffusionPipeline, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that say what to draw, and how many."""
        accepted = inspect.signature(pipe).parameters
        if "prompt" in accepted:
            if not _embedded(inputs):
                return {"prompt": list(self.prompts) if self.together else self.prompts[0]}
            must = accepted["prompt"].default is inspect.Parameter.empty
            return {"prompt": None} if must else {}
        if "class_labels" in accepted and "class_labels" not in inputs:
            return {"class_labels": [_label(pipe, prompt) for prompt in self.prompts]}
        if "batch_size" in accepted and self.together:
            return {"batch_size": len(self.prompts)}
        return {}


def calls_for(prompts: Sequence[str], seed: int, per_call: int | None) -> list[Call]:
    """The calls that draw one sample per prompt, sample i from `seed + i`; the last may draw more.

    Args:
        per_call: samples that a call makes; None for as many as it is asked for.
    """
    if per_call is None:
        return [Call(tuple(prompts), tuple(range(seed, seed + len(prompts))), True)]
    return [
        Call((prompts[i],), tuple(range(seed + i, seed + i + per_call)), False)
        for i in range(0, len(prompts), per_call)
    ]


def needs_prompts(pipe: DiffusionPipeline, inputs: Mapping[str, Any]) -> bool:
    """Whether nothing can be drawn without prompts or class labels."""
    wanted = {"prompt", "class_labels"} & inspect.signature(pipe).parameters.keys()
    return bool(wanted - inputs.keys()) and not _embedded(inputs)


def asks_for_number(pipe: DiffusionPipeline, inputs: Mapping[str, Any]) -> bool:
    """Whether a call can ask for a number of samples that `inputs` do not decide."""
    if needs_prompts(pipe, inputs):
        return True
    accepted = inspect.signature(pipe).parameters
    told = {"prompt", "class_labels"} & accepted.keys()
    return not told and "batch_size" in accepted and "batch_size" not in inputs


def checked_prompts(prompts: Sequence[str | int]) -> list[str]:
    """The prompts as texts; numbers are those of classes.

    Raises:
        TypeError: they are no list, or have something else.
    """
    texts = checked_list("prompts", prompts)
    for text in texts:
        if isinstance(text, bool) or not isinstance(text, str | int):
            raise TypeError(f"prompts must be texts or class numbers, got {quote(text)}")
    return [str(text) for text in texts]


def check_inputs(pipe: DiffusionPipeline, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that a pipeline does not take, or that leave out what it cannot do without.

    Raises:
        ValueError: with their names.
    """
    accepted = inspect.signature(pipe).parameters
    kinds = {parameter.kind for parameter in accepted.values()}
    unknown = sorted(inputs.keys() - accepted.keys())
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ValueError(
            f"{type(pipe).__name__} does not take the inputs {', '.join(unknown)}; it takes "
            f"{', '.join(accepted)}"
        )
    given = {*inputs, "prompt", "class_labels", "batch_size", "generator", _steps_name(pipe)}
    missing = [
        name
        for name, parameter in accepted.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        and name not in given
    ]
    if missing:
        raise ValueError(
            f"{type(pipe).__name__} draws nothing without {', '.join(missing)}; pass "
            f"inputs={{{', '.join(f'{name!r}: ...' for name in missing)}}}"
        )


def as_array(result: Any) -> np.ndarray:
    """The samples in what a pipeline returns, an array (N, ...) of float32.

    They are the first field of an output or tuple. Pictures become values in [0, 1].

    Raises:
        NoArrayError: they are no array, nor lists of arrays or pictures of one shape.
    """
    if is_dataclass(result):
        values = (getattr(result, entry.name) for entry in fields(result))
        return as_array(next(value for value in values if value is not None))
    if isinstance(result, tuple):
        return as_array(result[0])
    try:
        return _stacked(result)
    except (TypeError, ValueError) as error:
        raise NoArrayError(
            f"the pipeline returns {type(result).__name__}, of which no array of samples can be "
            "made; compare final latents with latents=True"
        ) from error


def _stacked(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy(force=True)
    if isinstance(value, Image.Image):
        return np.asarray(value, dtype=np.float32) / 255
    if isinstance(value, list | tuple):
        return np.stack([_stacked(item) for item in value])
    return np.asarray(value, dtype=np.float32)


def _embedded(inputs: Mapping[str, Any]) -> bool:
    """Whether prompts are given as embeddings."""
    return any(name.startswith("prompt_embeds") for name in inputs)


def _steps_name(pipe: DiffusionPipeline) -> str:
    """The argument that says how many steps to take: `num_inference_steps`, or one that ends so.

    Raises:
        ValueError: there is none.
    """
    accepted = inspect.signature(pipe).parameters
    names = [name for name in accepted if "num_inference_steps" in name]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        names.append("num_inference_steps")
    if not names:
        raise ValueError(
            f"{type(pipe).__name__} takes no num_inference_steps; write its loop as a function of "
            "a generator and the number of steps"
        )
    return min(names, key=len)


def _loop_unconditional(
    pipe: DiffusionPipeline, generators: list[torch.Generator], steps: int
) -> np.ndarray:
    """What the pipeline would draw if it took schedulers other than DDIM."""
    config = pipe.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    x = _loop(pipe, shape, generators, steps, lambda x, t: pipe.unet(x, t).sample)
    return _pictures(x)


def _loop_classes(
    pipe: DiTPipeline,
    generators: list[torch.Generator],
    steps: int,
    labels: list[int],
    guidance: float,
) -> np.ndarray:
    """What the pipeline would draw if it scaled its noise for schedulers that need that."""
    config = pipe.transformer.config
    classes = torch.tensor([*labels, *[config.num_embeds_ada_norm] * len(labels)])
    classes = classes.to(pipe.device)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        times = t.expand(2 * len(x)).to(x.device)
        score = pipe.transformer(torch.cat([x, x]), timestep=times, class_labels=classes).sample
        known, free = score[:, : config.in_channels].chunk(2)
        return free + guidance * (known - free)

    shape = (config.in_channels, config.sample_size, config.sample_size)
    x = _loop(pipe, shape, generators, steps, denoise)
    return _pictures(pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample)


def _loop(
    pipe: DiffusionPipeline,
    shape: tuple[int, ...],
    generators: list[torch.Generator],
    steps: int,
    denoise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    scheduler = pipe.scheduler
    shape = (len(generators), *shape)
    x = randn_tensor(shape, generator=generators, device=pipe.device, dtype=pipe.dtype)
    scheduler.set_timesteps(steps, device=pipe.device)
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        score = denoise(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(score, t, x, return_dict=False)[0]
    return x


def _pictures(x: torch.Tensor) -> np.ndarray:
    """Tensors (N, C, H, W) in [-1, 1] as pictures."""
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().numpy(force=True)


def _label(pipe: DiffusionPipeline, prompt: str) -> int:
    if prompt.isdecimal():
        return int(prompt)
    labels = getattr(pipe, "labels", {})
    if prompt not in labels:
        raise ValueError(
            f"{type(pipe).__name__} takes class numbers"
            + (f" or labels such as {', '.join(list(labels)[:5])}" if labels else "")
            + f", got {prompt!r}"
        )
    return int(labels[prompt])
