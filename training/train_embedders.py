"""Train the embedders that the bench looks through, and put each beside its model.

    python -m training.train_embedders

Classifiers on augmented training pictures: of all emoji motifs, and of digits. The features of the
pictures that a model has learnt are stored with its embedder.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from frdiff.evaluation.embedder import Embedder, EmbedderConfig
from training.data import motifs
from training.loop import train
from training.train_digits import digits
from training.train_emoji_dit import class_motifs

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "src/frdiff/models"
BATCH = 64


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures shifted and scaled by up to a tenth, with other brightness and some noise."""
    count = len(pictures)
    draw = torch.rand(5, count, generator=generator)
    scale = 0.9 + 0.2 * draw[0]
    zero = torch.zeros(count)
    affine = torch.stack(
        [scale, zero, 0.2 * draw[1] - 0.1, zero, scale, 0.2 * draw[2] - 0.1], dim=1
    ).view(count, 2, 3)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    bright = 0.9 + 0.2 * draw[3].view(-1, 1, 1, 1)
    noise = torch.randn(pictures.shape, generator=generator)
    return moved * bright + 0.15 * draw[4].view(-1, 1, 1, 1) * noise


def train_embedder(
    config: EmbedderConfig, pictures: Tensor, labels: Tensor, checkpoint: Path, steps: int
) -> Embedder:
    """The embedder after `steps` updates, with its accuracy on the pictures printed."""
    torch.manual_seed(0)
    network = Embedder(config)

    def loss(generator: torch.Generator, step: int) -> Tensor:
        index = torch.randint(len(pictures), (BATCH,), generator=generator)
        features = network(augment(pictures[index], generator))
        return F.cross_entropy(network.logits(features), labels[index], label_smoothing=0.1)

    train(network, loss, checkpoint, steps, lr=2e-3, ema=0.99)
    with torch.no_grad():
        features = torch.cat([network(batch) for batch in pictures.split(64)])
        right = (network.logits(features).argmax(dim=1) == labels).float().mean().item()
    print(f"{checkpoint.stem}: {right:.1%} of the training pictures recognised", flush=True)
    return network


@torch.no_grad()
def save(network: Embedder, pictures: Tensor, folder: Path) -> None:
    """Write the network and its features of `pictures` into a model's folder."""
    features = torch.cat([network(batch) for batch in pictures.split(64)])
    tensors = {**network.state_dict(), "training_features": features}
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    save_file(halves, folder / "embedder.safetensors")
    (folder / "embedder.json").write_text(network.config.to_json(), encoding="utf-8")


def main() -> None:
    """Train both and save each beside its models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500, help="updates")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/embedders", help="checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)

    pictures, captions, learnt = motifs()
    config = EmbedderConfig(3, (32, 64, 96, 128), tuple(captions))
    labels = torch.arange(len(captions))
    network = train_embedder(config, pictures, labels, options.runs / "emoji.pt", options.steps)
    for name in ("emoji", "emoji-flow"):
        save(network, pictures[learnt], MODELS / name)
    save(network, pictures[class_motifs(learnt)], MODELS / "emoji-dit")

    pictures, labels = digits()
    config = EmbedderConfig(1, (32, 64, 96), tuple("0123456789"))
    network = train_embedder(config, pictures, labels, options.runs / "digits.pt", options.steps)
    save(network, pictures, MODELS / "digits")


if __name__ == "__main__":
    main()
