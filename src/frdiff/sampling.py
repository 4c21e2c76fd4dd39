"""Seeded sampling from any pipeline, and schedulers by short name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DiffusionPipeline,
    DiTPipeline,
    SchedulerMixin,
)
from diffusers.utils.torch_utils import randn_tensor

from frdiff.choices import SCHEDULERS

__all__ = [
    "CONVERGED",
    "CONVERGED_STEPS",
    "SCHEDULERS",
    "interchangeable",
    "sample",
    "scheduler_name",
    "set_scheduler",
]

# They solve the same equation: with enough steps all of them reach the same picture.
DETERMINISTIC = (
    "ddim", "pndm", "euler", "heun", "lms", "dpm++", "dpm++karras", "unipc", "unipckarras",
)  # fmt: skip
# What comes closest to that picture, to 69 dB and more with 100 steps on the shipped models. Steps
# even in time end with a large one that leaves 40 to 50 dB, the same whatever the solver.
CONVERGED = "dpm++karras"
CONVERGED_STEPS = 100


def scheduler_name(scheduler: SchedulerMixin) -> str | None:
    """The short name of a scheduler; None for one that is not in `SCHEDULERS`."""
    for name, (class_name, options) in SCHEDULERS.items():
        if type(scheduler).__name__ == class_name and all(
            scheduler.config.get(key) == value for key, value in options.items()
        ):
            return name
    return None


def interchangeable(scheduler: SchedulerMixin) -> bool:
    """Whether the deterministic schedulers of `SCHEDULERS` draw the same, given enough steps."""
    flows = scheduler.config.get("use_flow_sigmas")
    return scheduler_name(scheduler) in DETERMINISTIC and not flows


def set_scheduler(pipe: DiffusionPipeline, name: str) -> SchedulerMixin:
    """The scheduler called `name`, made from the settings of the pipeline's own and set on it.

    Raises:
        ValueError: unknown name, or a flow-matching pipeline, which these schedulers do not serve.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"no scheduler {name!r}; choose one of {', '.join(SCHEDULERS)}")
    own = type(pipe.scheduler).__name__
    if "FlowMatch" in own or pipe.scheduler.config.get("use_flow_sigmas"):
        raise ValueError(
            f"{type(pipe).__name__} samples by flow matching with {own}, which {name!r} cannot "
            "replace; leave the scheduler out or set pipe.scheduler yourself"
        )
    class_name, options = SCHEDULERS[name]
    if "clip_sample" not in pipe.scheduler.config:
        # DDIM and DDPM clip to [-1, 1] unless told otherwise, which ruins latents.
        options = options | {"clip_sample": False}
    pipe.scheduler = getattr(diffusers, class_name).from_config(pipe.scheduler.config, **options)
    return pipe.scheduler


def sample(
    pipe: DiffusionPipeline,
    prompts: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    guidance: float | None = None,
    output_type: str = "np",
    inputs: Mapping[str, Any] = MappingProxyType({}),
    gradient: bool = False,
) -> np.ndarray:
    """One picture per prompt, all in one batch; picture i depends on `seed + i` alone.

    `DDIMPipeline` and `DiTPipeline` are made for DDIM; with a scheduler that takes other arguments
    or another scale of noise, a loop over the same networks stands in for theirs.

    Args:
        prompts: texts for a text-to-image pipeline; class numbers or label names for a
            class-conditional one; for an unconditional one only their number counts.
        steps: `num_inference_steps`.
        guidance: guidance scale; None takes the pipeline's default.
        output_type: `"np"` gives (N, H, W, 3) float32 in [0, 1]; `"latent"` the latents, as an
            array too, where the pipeline offers them.
        inputs: further arguments of the pipeline, such as a picture to start from; they come
            before what is said here.
        gradient: let gradients through the loop, which pipelines do not by themselves.

    Raises:
        ValueError: no prompts, or class labels that the model does not have.
    """
    if not prompts:
        raise ValueError("give at least one prompt")
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    if isinstance(pipe, DDIMPipeline | DDPMPipeline) and type(pipe.scheduler) is not DDIMScheduler:
        with torch.set_grad_enabled(gradient):
            return _loop_unconditional(pipe, generators, steps)
    if isinstance(pipe, DiTPipeline) and pipe.scheduler.init_noise_sigma != 1:
        labels = [_label(pipe, prompt) for prompt in prompts]
        scale = 4.0 if guidance is None else guidance
        with torch.set_grad_enabled(gradient):
            return _loop_classes(pipe, generators, steps, labels, scale)
    accepted = inspect.signature(pipe).parameters
    arguments: dict[str, Any] = {"num_inference_steps": steps, "generator": generators}
    if "prompt" in accepted:
        arguments["prompt"] = list(prompts)
    elif "class_labels" in accepted:
        arguments["class_labels"] = [_label(pipe, prompt) for prompt in prompts]
    else:
        arguments["batch_size"] = len(prompts)
    if guidance is not None and "guidance_scale" in accepted:
        arguments["guidance_scale"] = guidance
    arguments |= {"output_type": output_type, **inputs}
    if gradient:
        images = inspect.unwrap(type(pipe).__call__)(pipe, **arguments).images
    else:
        images = pipe(**arguments).images
    return images.numpy(force=True) if isinstance(images, torch.Tensor) else images


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
