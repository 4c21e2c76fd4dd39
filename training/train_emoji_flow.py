"""Train the `emoji-flow` model and write it as a `StableDiffusion3Pipeline` folder.

    python -m training.train_emoji_flow

A flow-matching transformer of two token streams (MMDiT) on the latents of the `emoji` autoencoder,
with two small CLIP text encoders and no T5. Resumes from `runs/emoji-flow` if it was interrupted.
"""

import json
import math
import shutil
from collections.abc import Sequence

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

import frdiff
from training.autoencoder import encode
from training.data import motifs
from training.diffusion import LABEL_DROP
from training.loop import train
from training.options import ROOT, parse_options
from training.train_emoji import MAX_TOKENS, build_tokenizer

BATCH = 32
WIDTH = 64  # of each text encoder
# Logit-normal noise levels: most of the training between s = 0.3 and 0.8.
CENTRE, SPREAD = 0.3, 1.2
# The pipeline's largest `max_sequence_length`.
MOST_BLANKS = 512


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """An untrained text encoder, 2 layers: the pipeline takes the words after the first one."""
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # No layer norm stands between the words and the transformer; CLIP's 0.02 would drown in bias.
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)
    return encoder


def build_transformer() -> SD3Transformer2DModel:
    """The untrained transformer, 6 blocks of width 192, whose blocks begin as the identity."""
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=6,
        num_attention_heads=6,
        attention_head_dim=32,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=192,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=8,
    )
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            nn.init.zeros_(norm.linear.weight)
            nn.init.zeros_(norm.linear.bias)
    nn.init.zeros_(transformer.proj_out.weight)
    return transformer


def embed(encoders: Sequence[CLIPTextModelWithProjection], words: Tensor) -> tuple[Tensor, Tensor]:
    """What the pipeline makes of token numbers (B, L) without a T5.

    Returns:
        The words, shape (B, L + 1, 2 WIDTH): those of both encoders side by side, then the zeros
        that stand for T5, once. And the pooled captions, shape (B, 2 WIDTH).
    """
    outputs = [encoder(words, output_hidden_states=True) for encoder in encoders]
    embeddings = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    pooled = torch.cat([output.text_embeds for output in outputs], dim=-1)
    return F.pad(embeddings, (0, 0, 0, 1)), pooled


class WeightedAttention:
    """Joint attention in which the last word counts as `weight` (B,) equal words.

    The pipeline feeds `max_sequence_length` zeros for T5, 256 by default. They have no positions,
    so they stay equal to one another in every block, and one of them with its weight in the
    softmax does what all of them do, at a quarter of the cost.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        def join(picture: Tensor, words: Tensor) -> Tensor:
            both = torch.cat([picture, words], dim=1)
            return both.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query = join(attn.to_q(hidden_states), attn.add_q_proj(encoder_hidden_states))
        key = join(attn.to_k(hidden_states), attn.add_k_proj(encoder_hidden_states))
        value = join(attn.to_v(hidden_states), attn.add_v_proj(encoder_hidden_states))
        bias = F.pad(weight.log()[:, None], (key.shape[2] - 1, 0))[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2)
        picture, words = mixed.tensor_split([hidden_states.shape[1]], dim=1)
        if not attn.context_pre_only:
            words = attn.to_add_out(words)
        return attn.to_out[0](picture), words


def build_pipeline(
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    encoders: Sequence[CLIPTextModelWithProjection],
    transformer: SD3Transformer2DModel,
) -> StableDiffusion3Pipeline:
    """The parts as a pipeline, with diffusers' own attention in the transformer."""
    transformer.set_attn_processor(JointAttnProcessor2_0())
    vae.register_to_config(shift_factor=0.0)
    first, second = encoders
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=first,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def main() -> None:
    """Train, then save the pipeline in half precision."""
    options = parse_options(__doc__, "emoji-flow", 8500)

    pictures, captions, learnt = motifs()
    vae = frdiff.load_model("emoji").vae
    latents = encode(vae, pictures[learnt]) * vae.config.scaling_factor
    tokenizer = build_tokenizer(captions)
    known = [captions[motif] for motif in learnt]
    *tokens, empty = tokenizer(
        [*known, ""], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    words = torch.stack(tokens)

    torch.manual_seed(0)
    encoders = nn.ModuleList(build_text_encoder(tokenizer) for _ in range(2))
    transformer = build_transformer()
    transformer.set_attn_processor(WeightedAttention())

    def loss(generator: torch.Generator, step: int) -> Tensor:
        index = torch.randint(len(latents), (BATCH,), generator=generator)
        x = latents[index]
        drop = torch.rand(BATCH, generator=generator) < LABEL_DROP
        strata = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        s = torch.sigmoid(CENTRE + SPREAD * torch.special.ndtri(strata))
        noise = torch.randn(x.shape, generator=generator)
        # Any number of zeros, so that the pictures do not depend on it.
        blanks = (math.log(MOST_BLANKS) * torch.rand(BATCH, generator=generator)).exp()
        embeddings, pooled = embed(encoders, torch.where(drop[:, None], empty, words[index]))
        velocity = transformer(
            x + s.view(-1, 1, 1, 1) * (noise - x),
            timestep=1000 * s,
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            joint_attention_kwargs={"weight": blanks},
        ).sample
        return F.mse_loss(velocity, noise - x)

    both = nn.ModuleDict({"transformer": transformer, "text": encoders})
    train(both, loss, options.runs / "denoiser.pt", options.steps, lr=8e-4)

    pipeline = build_pipeline(vae, tokenizer, encoders, transformer)
    pipeline.to(torch.float16).save_pretrained(options.output)
    text = json.dumps(known, indent=0)
    (options.output / "captions.json").write_text(text + "\n", encoding="utf-8")
    shutil.copy(ROOT / "training/emoji/ATTRIBUTION.md", options.output)
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
