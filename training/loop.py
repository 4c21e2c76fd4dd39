"""One training loop for all shipped models: seeded, resumable, AdamW with cosine decay and EMA."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn


def train(
    model: nn.Module,
    loss: Callable[[torch.Generator, int], Tensor],
    checkpoint: Path,
    steps: int,
    lr: float,
    *,
    warmup: int = 100,
    weight_decay: float = 0.01,
    ema: float = 0.998,
    seed: int = 0,
    save_every: int = 250,
) -> nn.Module:
    """Return `model` with the exponential moving average of its weights after `steps` updates.

    Args:
        model: trained in place, on the device it is on.
        loss: draws a batch from the generator it is given, for the update of the given number,
            and returns the loss of `model` on it.
        checkpoint: written every `save_every` updates; if it exists, training goes on from it
            and ends in the same weights as an uninterrupted run.
        steps: number of updates.
        lr: peak learning rate; linear warm-up, then cosine decay to 2 % of it.
        ema: decay of the moving average per update.
        seed: seed of the generator; every draw of the training comes from it.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay
    )
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema)
    )
    generator = torch.Generator().manual_seed(seed)
    start, running = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        start, running = state["step"], state["running"]
        print(f"resumed {checkpoint} at step {start}", flush=True)

    began = time.monotonic()
    model.train()
    for step in range(start, steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        scale = min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * cosine)
        for group in optimizer.param_groups:
            group["lr"] = lr * scale
        value = loss(generator, step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        running = value.item() if step == 0 else 0.98 * running + 0.02 * value.item()
        done = step + 1
        if done % 50 == 0:
            pace = (time.monotonic() - began) / (done - start)
            left = pace * (steps - done) / 60
            print(f"step {done}/{steps} loss {running:.4f} {left:.0f} min left", flush=True)
        if done % save_every == 0 or done == steps:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "step": done,
                "running": running,
            }
            temporary = checkpoint.with_suffix(".tmp")
            torch.save(state, temporary)
            temporary.replace(checkpoint)
    model.load_state_dict(average.module.state_dict())
    return model.eval()
