"""Pictures over HTTP, at a quality that each request chooses: an example to copy from.

    pip install frdiff "ray[serve]"
    python examples/serve_ray.py
    curl localhost:8000/qualities
    curl "localhost:8000/picture?prompt=red+apple&quality=fast&seed=3" --output apple.png

One denoiser serves all requests. Each has a scheduler and a state of its own (`run.state`), and
their calls of the denoiser take turns, so that a short request need not wait for the end of a long
one. So do their prompts: a tokenizer keeps how it pads in itself. A quality is a policy, and a
policy is a table: how long a request will take is known before.
"""

import argparse
import copy
import io
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import FastAPI, HTTPException, Query, Response
from ray import serve

import frdiff
from frdiff.models import shipped_folder
from frdiff.policy import Policy, RangePolicy

MODEL, GUIDANCE = "emoji", 2.0
POLICIES = shipped_folder(MODEL) / "policies"
QUALITIES = {
    "lossless": Path(__file__).parent / "lossless.json",  # 25 steps, all of them computed
    "high": POLICIES / "dpm++-25-speedup-2.json",
    "fast": POLICIES / "dpm++-25-speedup-3.5.json",
}
app = FastAPI()


@dataclass(frozen=True)
class Quality:
    """What a request may ask for.

    Attributes:
        policy: for the guidance that pictures are drawn at.
        scheduler: what it steps.
        calls: of the denoiser that a picture takes.
    """

    policy: Policy
    scheduler: Any
    calls: int


class Turns:
    """The denoiser as one request sees it: its calls wait for their turn, in the order they come.

    One thread makes the calls of all, each within the state of its request.
    """

    def __init__(
        self, denoiser: Any, state: Any, quality: Quality, thread: ThreadPoolExecutor
    ) -> None:
        self.denoiser, self.state, self.quality, self.thread = denoiser, state, quality, thread
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoiser, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.thread.submit(self._call, args, kwargs).result()

    @torch.no_grad()
    def _call(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        self.steps += 1
        with self.state:
            return self.denoiser(*args, **kwargs)

    @property
    def left(self) -> float:
        """Calls that are still to be computed, the jumps between them left out."""
        return self.quality.calls * (1 - self.steps / self.quality.policy.num_steps)


class Studio:
    """Draws for several requests at a time, with one set of weights."""

    def __init__(self) -> None:
        warnings.filterwarnings("ignore", message=".*expect little speed-up")  # lossless saves none
        self.pipe = frdiff.load_model(MODEL)
        self.qualities = {name: self._quality(path) for name, path in QUALITIES.items()}
        # What is hooked are the targets, the same for all of them, so that each request may
        # follow a policy of its own.
        hooked = self.qualities["fast"]
        self.run = frdiff.apply(self.pipe.unet, hooked.policy, scheduler=hooked.scheduler)
        self.thread = ThreadPoolExecutor(1)
        self.running: set[Turns] = set()
        self.seconds_per_call = self.seconds_beside = 0.0
        self._measure()

    def draw(self, prompt: str, quality: Quality, seed: int) -> bytes:
        """A PNG."""
        pipe = copy.copy(self.pipe)  # the same weights, and attributes of its own
        pipe.scheduler = copy.deepcopy(quality.scheduler)
        state = self.run.state(pipe.scheduler, quality.policy)
        embeds, negative = self.thread.submit(self._encode, prompt).result()
        pipe.unet = turns = Turns(self.pipe.unet, state, quality, self.thread)
        self.running.add(turns)
        try:
            image = pipe(
                prompt_embeds=embeds,
                negative_prompt_embeds=negative,
                num_inference_steps=quality.policy.num_steps,
                guidance_scale=GUIDANCE,
                generator=torch.Generator().manual_seed(seed),
            ).images[0]
        finally:
            self.running.remove(turns)
        kept = io.BytesIO()
        image.save(kept, "PNG")
        return kept.getvalue()

    def seconds(self, quality: Quality) -> float:
        """What a picture will take if no further request comes.

        Its own calls, those of others whose turns come before it has ended, and what all of them
        do beside the denoiser.
        """
        running = list(self.running)
        others = sum(min(turns.left, quality.calls) for turns in running)
        beside = (len(running) + 1) * self.seconds_beside
        return (quality.calls + others) * self.seconds_per_call + beside

    @torch.no_grad()
    def _encode(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """What the prompt and the empty one say to the denoiser."""
        return self.pipe.encode_prompt(prompt, self.pipe.device, 1, True)

    def _quality(self, path: Path) -> Quality:
        policy = frdiff.load_policy(path)
        policy = policy.at(GUIDANCE) if isinstance(policy, RangePolicy) else policy
        pipe = copy.copy(self.pipe)
        if policy.origin is not None and policy.origin.solver is not None:
            frdiff.set_scheduler(pipe, policy.origin.solver)
        plan = policy.plan(policy.num_steps)
        return Quality(policy, pipe.scheduler, len(plan) - plan.count(frdiff.Action.JUMP))

    def _measure(self) -> None:
        """Time a short and a long request, after one that is not counted."""
        few, many = self.qualities["fast"], self.qualities["lossless"]
        took = []
        for quality in (few, few, many):
            began = time.perf_counter()
            self.draw("", quality, 0)
            took.append(time.perf_counter() - began)
        self.seconds_per_call = (took[2] - took[1]) / (many.calls - few.calls)
        self.seconds_beside = max(took[1] - few.calls * self.seconds_per_call, 0.0)


@serve.deployment(max_ongoing_requests=16)
@serve.ingress(app)
class Pictures:
    """What answers, under Ray Serve; FastAPI runs what is no coroutine in a thread per request."""

    def __init__(self) -> None:
        self.studio = Studio()

    @app.get("/qualities")
    def qualities(self) -> dict[str, dict[str, float]]:
        """What there is, with the seconds that a picture would take now."""
        return {
            name: {"calls": quality.calls, "seconds": self.studio.seconds(quality)}
            for name, quality in self.studio.qualities.items()
        }

    @app.get("/picture", response_class=Response)
    def picture(
        self,
        prompt: Annotated[str, Query(max_length=300)],
        quality: str = "high",
        seed: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    ) -> Response:
        """A PNG; its header X-Seconds has what it was said to take before it was begun."""
        chosen = self.studio.qualities.get(quality)
        if chosen is None:
            known = ", ".join(self.studio.qualities)
            raise HTTPException(422, f"quality must be one of {known}, got {quality[:50]!r}")
        expected = self.studio.seconds(chosen)
        content = self.studio.draw(prompt, chosen, seed)
        return Response(content, media_type="image/png", headers={"X-Seconds": f"{expected:.3f}"})


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    serve.start(http_options={"port": port})
    serve.run(Pictures.bind(), blocking=True)


if __name__ == "__main__":
    main()
