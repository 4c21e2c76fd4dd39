"""Train the `emoji` model and write it as a `StableDiffusionPipeline` folder.

    python -m training.train_emoji

Resumes from `runs/emoji` if it was interrupted. The recipe, its time and its results are in
`training/README.md`.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import encode, psnr, train_autoencoder
from training.data import motifs
from training.diffusion import build_scheduler, denoising_loss
from training.loop import train
from training.options import ROOT, parse_options

MAX_TOKENS = 16
WIDTH = 128
BATCH = 32
WIDE_STEPS = 1000


def build_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges make one token of every word in `captions`.

    Other words fall apart into smaller pieces, as with any byte-pair encoding.
    """
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=MAX_TOKENS,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder: 2 layers, 128 wide, trained together with the U-Net."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """The untrained U-Net, 12.3 M parameters, 55 % of its MACs in transformer blocks."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 96, 160),
        layers_per_block=1,
        transformer_layers_per_block=(1, 3, 3),
        attention_head_dim=(2, 3, 5),
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def train_denoiser(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    latents: Tensor,
    tokens: Tensor,
    empty: Tensor,
    learnt: Tensor,
    runs: Path,
    steps: int,
) -> None:
    """Train U-Net and text encoder in place on `latents` (N, 8, 16, 16) of unit variance.

    A tenth of the captions is replaced by the empty one. The first 1,000 updates see all motifs,
    the rest only those in `learnt`, until they are known well: a model this size learns about 250
    of them in an hour.
    """
    everything = torch.arange(len(latents))
    both = nn.ModuleDict({"unet": unet, "text": text_encoder})

    def loss(generator: torch.Generator, step: int) -> Tensor:
        pool = everything if step < WIDE_STEPS else learnt
        index = pool[torch.randint(len(pool), (BATCH,), generator=generator)]

        def predict(x_t: Tensor, t: Tensor, drop: Tensor) -> Tensor:
            words = torch.where(drop[:, None], empty, tokens[index])
            return unet(x_t, t, text_encoder(words).last_hidden_state).sample

        return denoising_loss(predict, latents[index], generator)

    train(both, loss, runs / "denoiser.pt", steps, lr=1e-3)


def main() -> None:
    """Train everything, then save the pipeline in half precision."""
    options = parse_options(__doc__, "emoji", 3200)

    pictures, captions, learnt = motifs()
    vae = train_autoencoder(pictures, options.runs)
    print(f"autoencoder: {psnr(vae, pictures):.1f} dB", flush=True)
    latents = encode(vae, pictures) * vae.config.scaling_factor

    torch.manual_seed(0)
    tokenizer = build_tokenizer(captions)
    text_encoder, unet = build_text_encoder(tokenizer), build_unet()
    *tokens, empty = tokenizer(
        [*captions, ""], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    print(f"{len(captions)} motifs, {len(learnt)} of them learnt", flush=True)
    train_denoiser(
        unet,
        text_encoder,
        latents,
        torch.stack(tokens),
        empty,
        torch.tensor(learnt),
        options.runs,
        options.steps,
    )

    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(options.output)
    known = json.dumps([captions[index] for index in learnt], indent=0)
    (options.output / "captions.json").write_text(known + "\n", encoding="utf-8")
    shutil.copy(ROOT / "training/emoji/ATTRIBUTION.md", options.output)
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
