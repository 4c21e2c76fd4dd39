"""What training gains from posteriors encoded once, and whether it learns the same.

    python bench/posteriors.py [--rounds 5] [--steps 150] [--threads 1] [--json PATH]

Trains the transformer of `training/train_emoji_dit.py` with latents drawn from cached posteriors,
and with every batch encoded each time. Prints seconds per epoch of both at that script's batch of
32 (its pictures once over; medians over rounds, in alternation), what drawing its latents takes
alone, and the speed-up: the median of the ratios within a round. Then the mean loss over the last
half of some updates at a batch of 4 for three seeds, both ways from the same draws, and how far
apart they are beside how far seeds are.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

import frdiff
from frdiff import posteriors
from frdiff.evaluation.results.records import about_here

sys.path.append(str(Path(__file__).parents[1]))

from training.data import motifs
from training.train_emoji_dit import (
    BATCH,
    PREPROCESSING,
    build_transformer,
    class_loss,
    class_motifs,
)

SEEDS = (0, 1, 2)
SMALL = 4

Draw = Callable[[Tensor, torch.Generator], Tensor]


def ways(folder: Path) -> tuple[dict[str, Draw], int, float]:
    """How latents are drawn, by name; how many there are; and seconds to build the cache."""
    pictures, _, learnt = motifs()
    pictures = pictures[class_motifs(learnt)]
    vae = frdiff.load_model("emoji").vae
    began = time.perf_counter()
    posteriors.build(vae, pictures, folder, PREPROCESSING)
    took = time.perf_counter() - began
    cached = posteriors.CachedPosteriors(folder, vae, PREPROCESSING)

    @torch.no_grad()
    def encoded(index: Tensor, generator: torch.Generator) -> Tensor:
        latents = vae.encode(pictures[index]).latent_dist.sample(generator)
        return latents * vae.config.scaling_factor

    return {"encoded": encoded, "cached": cached.sample}, len(cached), took


class Training:
    """A transformer in training, as `training/loop.py` trains it, but at a constant rate.

    Args:
        draw: gives latents.
        seed: of the transformer and of all that is drawn.
    """

    def __init__(self, draw: Draw, seed: int) -> None:
        torch.manual_seed(seed)
        self.draw = draw
        self.model = build_transformer()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=4e-4, betas=(0.9, 0.99))
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=average)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, index: Tensor) -> float:
        """The loss on the pictures of these numbers, before an update from it."""
        latents = self.draw(index, self.generator)
        loss = class_loss(self.model, latents, index, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return loss.item()


def epochs(draws: dict[str, Draw], items: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds per round that an epoch takes, and its draws alone, by way; one round warms up."""
    trainings = {name: Training(draw, 0) for name, draw in draws.items()}
    took: dict[str, dict[str, list[float]]] = {name: {"epoch": [], "draws": []} for name in draws}
    for number in track(range(rounds + 1), "epochs"):
        for name, training in trainings.items():
            order = torch.randperm(items, generator=training.generator).split(BATCH)
            began = time.perf_counter()
            for index in order:
                training.update(index)
            middle = time.perf_counter()
            for index in order:
                training.draw(index, training.generator)
            if number > 0:
                took[name]["epoch"].append(middle - began)
                took[name]["draws"].append(time.perf_counter() - middle)
    return took


def curve(draw: Draw, items: int, seed: int, steps: int) -> list[float]:
    """The loss of every update."""
    training = Training(draw, seed)
    indices = (torch.randint(items, (SMALL,), generator=training.generator) for _ in range(steps))
    return [training.update(index) for index in indices]


def print_epochs(took: dict[str, dict[str, list[float]]]) -> list[float]:
    """The speed-up of each round, after a table of seconds."""
    print("| latents | s per epoch | drawing its latents alone |\n|---|---|---|")
    for name, seconds in took.items():
        medians = [statistics.median(seconds[part]) for part in ("epoch", "draws")]
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.3f} |")
    pairs = zip(took["encoded"]["epoch"], took["cached"]["epoch"], strict=True)
    ratios = [encoded / cached for encoded, cached in pairs]
    print(f"\nspeed-up {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n")
    return ratios


def print_losses(curves: dict[str, list[list[float]]]) -> None:
    """A table of the losses of the last half, by way and seed, and how far apart they are."""
    half = len(curves["cached"][0]) // 2
    print(f"| mean loss after update {half}, batch {SMALL} |", end="")
    print("".join(f" seed {seed} |" for seed in SEEDS) + "\n" + "|---" * (len(SEEDS) + 1) + "|")
    late = {
        name: [statistics.mean(losses[half:]) for losses in rows] for name, rows in curves.items()
    }
    for name, means in late.items():
        print(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    apart = max(abs(a - b) for a, b in zip(late["encoded"], late["cached"], strict=True))
    spread = max(late["encoded"]) - min(late["encoded"])
    print(f"\nthe two ways are {apart:.1e} apart at most, seeds {spread:.1e}")


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each way")
    parser.add_argument("--steps", type=int, default=150, help="updates of each loss curve")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)
    hardware = about_here(torch.device("cpu")).hardware
    with tempfile.TemporaryDirectory() as folder:
        draws, items, built = ways(Path(folder))
        print(f"{hardware}; float32; {items} pictures in batches of {BATCH}")
        print(f"cache built in {built:.2f} s\n")
        took = epochs(draws, items, options.rounds)
        ratios = print_epochs(took)
        curves = {
            name: [curve(draw, items, seed, options.steps) for seed in track(SEEDS, name)]
            for name, draw in draws.items()
        }
        print_losses(curves)
    figures = {
        "hardware": hardware,
        "dtype": "float32",
        "pictures": items,
        "seconds to build": built,
        "seconds": took,
        "speed-up": statistics.median(ratios),
        "losses": curves,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
