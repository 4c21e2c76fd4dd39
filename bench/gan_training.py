"""Is reuse between the iterations of a GAN's training worth anything? Digits, three seeds.

    python bench/gan_training.py [--updates 1500] [--seeds 3] [--threads 1] [--runs FOLDER]

Two features stand still while weights move slowly: the discriminator's of a batch of real pictures
that is shown `k` times in a row, and the generator's of latents that are. In the first of `k`
iterations they are computed in full, with gradients; in the others the lower of two blocks, three
fifths of the discriminator's MACs, gives what it gave then and learns nothing. Beside both stands
the same replay without reuse, since replay alone does harm or good. Prints the distance after so
many updates, and the time to what plain training reaches at its end: updates until then by the
seconds of one, which are timed in turns. Goes on from `--runs` if it was interrupted.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from frdiff.evaluation.embedder import ShippedEmbedder, load_embedder
from frdiff.evaluation.metrics import frechet_distance
from frdiff.frames import StyleGenerator

sys.path.append(str(Path(__file__).parents[1]))

from training.options import ROOT
from training.train_digits import digits
from training.train_emoji_gan import Discriminator

LATENT = 32
BATCH, RATE, EMA = 16, 1e-3, 0.995
R1, R1_EVERY = 1.0, 16
LOWER = 1  # blocks whose features are reused, of two
EVERY, DRAWN = 100, 1000


@dataclass(frozen=True)
class Way:
    """A way of training: how often a batch is seen in a row, and what is reused meanwhile.

    `rests`: the discriminator's lower block learns nothing from drawn pictures either meanwhile;
    else it learns from them alone.
    """

    name: str
    reals: int = 1
    latents: int = 1
    reuses: bool = True
    rests: bool = False


WAYS = (
    Way("plain"),
    Way("real pictures, 2 times", reals=2),
    Way("real pictures, 4 times", reals=4),
    Way("real pictures, 2 times, lower block resting", reals=2, rests=True),
    Way("latents, 2 times", latents=2),
    Way("latents, 4 times", latents=4),
    Way("both, 2 times", reals=2, latents=2),
    Way("both, 2 times, computed anew", reals=2, latents=2, reuses=False),
)


class Reused(nn.Module):
    """A block that gives what it gave on the last keyframe, without gradients."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.keyframe = True
        self.kept: Tensor | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """The features of the inputs, or those of the last keyframe's."""
        if self.keyframe or self.kept is None:
            features: Tensor = self.block(*inputs)
            self.kept = features.detach()
            return features
        return self.kept


def reusing(network: Any) -> Any:
    """A copy with the same weights, whose blocks can be reused by themselves."""
    twin = copy.deepcopy(network)
    for name, weight in network.named_parameters():
        owner, _, last = name.rpartition(".")
        setattr(twin.get_submodule(owner), last, weight)
    return twin


def wrapped(blocks: nn.ModuleList, lower: range) -> list[Reused]:
    """Let some blocks of a network be reused."""
    found = [Reused(blocks[number]) for number in lower]
    for number, block in zip(lower, found, strict=True):
        blocks[number] = block
    return found


class Training:
    """A GAN that is trained on digits in one way."""

    def __init__(self, way: Way, seed: int) -> None:
        self.way = way
        torch.manual_seed(seed)
        layout = torch.channels_last  # a third faster on a CPU
        self.pictures = digits()[0].expand(-1, 3, -1, -1)
        self.gan = StyleGenerator(LATENT, 64, (48, 32)).to(memory_format=layout)
        self.critic = Discriminator((32, 48, 64)).to(memory_format=layout)
        self.average = copy.deepcopy(self.gan).requires_grad_(False)
        self.maker = torch.optim.Adam(self.gan.parameters(), RATE, betas=(0.0, 0.99))
        self.judge = torch.optim.Adam(self.critic.parameters(), RATE, betas=(0.0, 0.99))
        self.generator = torch.Generator().manual_seed(seed)
        self.shown = reusing(self.critic)  # sees real pictures alone
        self.drawing = reusing(self.gan)
        self.held_reals = wrapped(self.shown.blocks, range(LOWER))
        self.held_latents = wrapped(self.drawing.blocks, range(LOWER))
        self.update = 0

    def step(self) -> None:
        """One update of both networks."""
        way, generator = self.way, self.generator
        if self.update % way.reals == 0:
            rows = torch.randint(len(self.pictures), (BATCH,), generator=generator)
            self.real = self.pictures[rows]
        if self.update % way.latents == 0:
            self.latents = torch.randn(BATCH, LATENT, generator=generator)
        for held, often in ((self.held_reals, way.reals), (self.held_latents, way.latents)):
            for block in held:
                block.keyframe = not way.reuses or self.update % often == 0
        made = self.drawing(self.latents)
        self.critic.requires_grad_(True)
        if way.rests and self.update % way.reals:
            self.critic.conv_in.requires_grad_(False)
            self.critic.blocks[:LOWER].requires_grad_(False)
        slope = self.update % R1_EVERY == 0  # a keyframe of every way
        real = self.real.clone().requires_grad_(slope)
        true, _ = self.shown(real)
        loss = F.softplus(self.critic(made.detach())[0]).mean() + F.softplus(-true).mean()
        if slope:
            (gradient,) = torch.autograd.grad(true.sum(), real, create_graph=True)
            loss = loss + R1_EVERY * R1 / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
        self.judge.zero_grad()
        loss.backward()
        self.judge.step()
        self.critic.requires_grad_(False)
        loss = F.softplus(-self.critic(made)[0]).mean()
        self.maker.zero_grad()
        loss.backward()
        self.maker.step()
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.gan.parameters(), strict=True):
                kept.lerp_(new, 1 - EMA)
        self.update += 1

    @torch.no_grad()
    def distance(self, embedder: ShippedEmbedder) -> float:
        """The Fréchet distance of what the average draws to the pictures, by `embedder`."""
        latents = torch.randn(DRAWN, LATENT, generator=torch.Generator().manual_seed(1))
        made = torch.cat([self.average(part) for part in latents.split(100)])
        grey = made.mean(dim=1, keepdim=True).clamp(-1, 1)
        images = ((grey + 1) / 2).permute(0, 2, 3, 1).numpy()
        return frechet_distance(embedder.training_features, embedder.features(images))


def curves(updates: int, seeds: int, runs: Path) -> dict[str, list[list[float]]]:
    """The distances every 100 updates, by way and seed."""
    embedder = load_embedder("digits")
    runs.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[list[float]]] = {way.name: [] for way in WAYS}
    todo = [(seed, way) for seed in range(seeds) for way in WAYS]
    for seed, way in track(todo, "training"):
        file = runs / f"{way.name.replace(', ', '-').replace(' ', '-')}-{seed}-{updates}.json"
        if not file.exists():
            training, rows = Training(way, seed), []
            for _ in range(updates // EVERY):
                for _ in range(EVERY):
                    training.step()
                rows.append(training.distance(embedder))
            file.write_text(json.dumps(rows), encoding="utf-8")
        found[way.name].append(json.loads(file.read_text(encoding="utf-8")))
    return found


def seconds_of(rounds: int) -> dict[str, float]:
    """Seconds of an update by way, over those of a plain one, timed in turns; and the latter."""
    trainings = [Training(way, 0) for way in WAYS]
    ratios: dict[str, list[float]] = {way.name: [] for way in WAYS}
    plain = []
    for turn in track(range(rounds + 1), "timing"):
        taken = {training.way.name: _timed(training) for training in trainings}
        if turn:
            plain.append(taken["plain"])
            for name, seconds in taken.items():
                ratios[name].append(seconds / taken["plain"])
    medians = {name: statistics.median(row) for name, row in ratios.items()}
    return medians | {"": statistics.median(plain)}


def _timed(training: Training) -> float:
    began = time.perf_counter()
    for _ in range(R1_EVERY):
        training.step()
    return (time.perf_counter() - began) / R1_EVERY


def table(found: dict[str, list[list[float]]], seconds: dict[str, float]) -> Iterator[str]:
    """Lines of Markdown: by way the time of an update, the distances, and the time to the goal."""
    goal = statistics.median(row[-1] for row in found["plain"])
    yield f"| | an update | distance at the end, by seed | time to {goal:.2f}, over plain |"
    yield "| --- | --- | --- | --- |"
    base = statistics.median(_updates_to(goal, row) or len(row) for row in found["plain"])
    for name, rows in found.items():
        reached = [_updates_to(goal, row) for row in rows]
        times = sorted(seconds[name] * count / base if count else float("inf") for count in reached)
        said = ", ".join("never" if one == float("inf") else f"{one:.2f}" for one in times)
        ends = ", ".join(f"{row[-1]:.2f}" for row in rows)
        yield f"| {name} | {seconds[name]:.2f} | {ends} | {said} |"


def _updates_to(goal: float, distances: list[float]) -> int | None:
    """How many measurements it takes to get there; None if it does not."""
    return next((n + 1 for n, distance in enumerate(distances) if distance <= goal), None)


def main() -> None:
    """Train, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/gan-training")
    parser.add_argument("--json", action="store_true", help="figures on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = curves(options.updates, options.seeds, options.runs)
    seconds = seconds_of(options.rounds)
    if options.json:
        print(json.dumps({"distances": found, "seconds": seconds}, indent=1))
        return
    print(f"{options.updates} updates of {BATCH} pictures, {1000 * seconds['']:.0f} ms a plain one")
    print("\n".join(table(found, seconds)))


if __name__ == "__main__":
    main()
