"""Train the `emoji-dit` model and write it as a `DiTPipeline` folder.

    python -m training.train_emoji_dit

A diffusion transformer on the latents of the `emoji` autoencoder; every second motif that `emoji`
knows is a class. Latents are drawn anew for every batch, from posteriors encoded once. Resumes from
`runs/emoji-dit` if it was interrupted.
"""

import json
import shutil

import torch
from diffusers import DiTPipeline, DiTTransformer2DModel
from torch import Tensor, nn

import frdiff
from frdiff import posteriors
from training.data import motifs
from training.diffusion import build_scheduler, denoising_loss
from training.loop import train
from training.options import ROOT, parse_options

BATCH = 32
PREPROCESSING = "motifs, 64x64, every second one that emoji knows"
NO_CLASS = 1000  # the number that DiTPipeline passes for the unconditional half


def class_motifs(learnt: list[int]) -> list[int]:
    """The motifs that are classes: every second one that `emoji` knows."""
    return learnt[::2]


def build_transformer() -> DiTTransformer2DModel:
    """The untrained transformer, 8 blocks of width 192, whose blocks begin as the identity."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=8,
        out_channels=8,
        num_layers=8,
        sample_size=16,
        patch_size=2,
        num_embeds_ada_norm=NO_CLASS,
    )
    for block in transformer.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
        nn.init.zeros_(block.norm1.linear.bias)
        # The loss drops labels; the blocks would drop them each for itself.
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    nn.init.zeros_(transformer.proj_out_2.weight)
    return transformer


def class_loss(
    transformer: DiTTransformer2DModel, x: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """The loss on a batch of latents (B, 8, 16, 16) of the classes `labels` (B,)."""

    def predict(x_t: Tensor, t: Tensor, drop: Tensor) -> Tensor:
        given = torch.where(drop, NO_CLASS, labels)
        return transformer(x_t, timestep=t, class_labels=given).sample

    return denoising_loss(predict, x, generator)


def main() -> None:
    """Train, then save the pipeline in half precision."""
    options = parse_options(__doc__, "emoji-dit", 7000)

    pictures, captions, learnt = motifs()
    classes = class_motifs(learnt)
    vae = frdiff.load_model("emoji").vae
    folder = options.runs / "posteriors"
    posteriors.build(vae, pictures[classes], folder, PREPROCESSING)
    latents = posteriors.CachedPosteriors(folder, vae, PREPROCESSING)
    torch.manual_seed(0)
    transformer = build_transformer()

    def loss(generator: torch.Generator, step: int) -> Tensor:
        index = torch.randint(len(latents), (BATCH,), generator=generator)
        return class_loss(transformer, latents.sample(index, generator), index, generator)

    train(transformer, loss, options.runs / "denoiser.pt", options.steps, lr=8e-4)
    names = {number: captions[motif] for number, motif in enumerate(classes)}
    pipeline = DiTPipeline(transformer, vae, build_scheduler())
    pipeline.to(torch.float16).save_pretrained(options.output)
    # DiTPipeline reads the names of its classes from there, but does not write them.
    index = json.loads((options.output / "model_index.json").read_text(encoding="utf-8"))
    text = json.dumps(index | {"id2label": names}, indent=1)
    (options.output / "model_index.json").write_text(text + "\n", encoding="utf-8")
    text = json.dumps(list(names.values()), indent=0)
    (options.output / "captions.json").write_text(text + "\n", encoding="utf-8")
    shutil.copy(ROOT / "training/emoji/ATTRIBUTION.md", options.output)
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
