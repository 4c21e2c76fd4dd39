"""A node for ComfyUI, MODEL -> MODEL, that samples with a policy of frdiff.

ComfyUI has no scheduler of diffusers: its samplers ask a guider for a denoised sample at each of
their sigmas. Three of its wrappers tell frdiff all that it needs: that a sampler begins, with which
sigmas; that one of them is asked for; and which conditions a call of the network is for.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

import frdiff

POLICIES = Path(__file__).parent / "policies"
KEY = "frdiff"
CLOSE = 1e-3  # of two sigmas that are meant to be the same

logger = logging.getLogger(KEY)


class SigmaClock:
    """What stands for a scheduler: one step per sigma that a sampler asks for.

    Args:
        model_sampling: of the model; its `timestep` is what the network is told of a sigma.
        sigmas: (steps + 1,) of the run, falling.
    """

    def __init__(self, model_sampling: Any, sigmas: torch.Tensor) -> None:
        self.config: dict[str, Any] = {}
        self.sigmas = sigmas
        self.timesteps = model_sampling.timestep(sigmas[:-1]).float()
        self.num_inference_steps = len(self.timesteps)
        self._expected = sigmas.tolist()[:-1]

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Begin a run; its timesteps are known already."""
        self._place = 0

    def step(self, model_output: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor]:
        """End a step."""
        self._place += 1
        return (model_output,)

    def tick(self, denoised: torch.Tensor) -> None:
        """End the step at hand, with what it was asked for."""
        self.step(denoised, self.timesteps[self._place])

    def is_next(self, sigma: float) -> bool:
        """Whether this is the sigma of the step at hand."""
        expected = self._expected[self._place : self._place + 1]
        return any(abs(sigma - level) <= CLOSE * level for level in expected)


class Reuse:
    """The wrappers of one node; what they hold is of the sampling that goes on."""

    def __init__(self, policy: frdiff.Policy) -> None:
        self.policy = policy
        self.run: frdiff.Run | None = None
        self.clock: SigmaClock | None = None  # None where the network computes in full
        self.marks: dict[str, torch.Tensor] = {}

    def sampler_sample(
        self, executor: Any, guider: Any, sigmas: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """Sample with the policy on the network; afterwards, and on errors, it is as before."""
        model = guider.inner_model
        self.marks.clear()
        clock = SigmaClock(model.model_sampling, sigmas)
        with frdiff.apply(model.diffusion_model, self.policy, scheduler=clock) as self.run:
            clock.set_timesteps(clock.num_inference_steps)
            self.clock = clock
            try:
                return executor(guider, sigmas, *args, **kwargs)
            finally:
                self.run = self.clock = None

    def predict_noise(
        self, executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """One step, unless the sampler asks for another sigma than the next: the rest is full then.

        Samplers that ask twice a step, such as heun and dpm_2, do so.
        """
        if self.clock is not None and not self.clock.is_next(float(timestep.flatten()[0])):
            logger.warning("the sampler asks for other sigmas than its own: the rest runs in full")
            self.run.remove()
            self.clock = None
        denoised = executor(x, timestep, *args, **kwargs)
        if self.clock is not None:
            self.clock.tick(denoised)
        return denoised

    def apply_model(
        self,
        executor: Any,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A call of the network, marked with the conditions that it is for.

        They may come batched now and one by one later, as memory allows, or leave out some. A text
        among the inputs of the network keeps what is stored for others from being reused for them,
        and a tensor that stands still finds their own.
        """
        options = dict(transformer_options or {})
        if self.clock is not None:
            conditions = str((options.get("cond_or_uncond"), options.get("uuids")))
            mark = self.marks.setdefault(conditions, torch.zeros(1, dtype=torch.long))
            options[KEY] = [conditions, mark]
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


class FRDiff:
    """The node."""

    CATEGORY = "model_patches"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    DESCRIPTION = "Samples faster: between keyframes the network is reused or left out."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs: policies in the folder `policies` beside the two that need no tuning."""
        interval = {
            "default": 2,
            "min": 1,
            "max": 10,
            "tooltip": "steps from one keyframe to the next; larger is faster, and further off",
        }
        tooltip = "jump leaves the network out between keyframes, reuse runs a part of it"
        choices = ["jump", "reuse", *sorted(path.stem for path in POLICIES.glob("*.json"))]
        return {
            "required": {
                "model": ("MODEL",),
                "policy": (choices, {"tooltip": tooltip}),
                "interval": ("INT", interval),
            }
        }

    def patch(self, model: Any, policy: str, interval: int) -> tuple[Any]:
        """A clone of the model that samples with the policy; the model itself is left alone.

        Raises:
            ValueError: no such policy, its file is none, or it was tuned on another model.
        """
        reuse = Reuse(_policy(policy, interval))
        patched = model.clone()
        wrappers: dict[str, Callable] = {
            WrappersMP.SAMPLER_SAMPLE: reuse.sampler_sample,
            WrappersMP.PREDICT_NOISE: reuse.predict_noise,
            WrappersMP.APPLY_MODEL: reuse.apply_model,
        }
        for place, wrapper in wrappers.items():
            patched.remove_wrappers_with_key(place, KEY)  # of a node before this one
            patched.add_wrapper_with_key(place, KEY, wrapper)
        return (patched,)


def _policy(name: str, interval: int) -> frdiff.Policy:
    if name == "jump":
        return frdiff.JumpPolicy(interval, checked=True)
    if name == "reuse":
        return frdiff.UniformPolicy(interval, mixing=False, forecast=1, targets="all", align="end")
    files = {path.stem: path for path in POLICIES.glob("*.json")}
    if name not in files:
        raise ValueError(f"policy must be one of jump, reuse, {', '.join(files)}; got {name!r}")
    policy = frdiff.load_policy(files[name])
    if policy.origin is not None:
        raise ValueError(
            f"{name} was tuned on {policy.origin.model} of diffusers, and ComfyUI's models and "
            "samplers are others; take jump or reuse, or a policy that was not tuned"
        )
    return policy


NODE_CLASS_MAPPINGS = {"FRDiff": FRDiff}
NODE_DISPLAY_NAME_MAPPINGS = {"FRDiff": "FRDiff (reuse between steps)"}
