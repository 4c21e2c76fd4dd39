"""What the training of `emoji-flow` feeds its transformer is what its pipeline feeds it."""

import pytest
import torch

import frdiff
from training.train_emoji import build_tokenizer
from training.train_emoji_flow import (
    WeightedAttention,
    build_pipeline,
    build_text_encoder,
    build_transformer,
    embed,
)

PROMPTS = ["red apple", "", "smiling face with 3 hearts"]


@pytest.fixture(scope="module")
def pipe():
    """An untrained pipeline whose transformer does more than its identity."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(PROMPTS)
    transformer = build_transformer()
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    encoders = [build_text_encoder(tokenizer) for _ in range(2)]
    vae = frdiff.load_model("emoji").vae
    return build_pipeline(vae, tokenizer, encoders, transformer)


def conditions(pipe, blanks):
    """What the pipeline makes of `PROMPTS` with `blanks` zeros for T5."""
    embeddings, _, pooled, _ = pipe.encode_prompt(
        PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=blanks
    )
    return embeddings, pooled


@torch.no_grad()
def test_captions_are_embedded_as_the_pipeline_does(pipe):
    words = pipe.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    embeddings, pooled = embed([pipe.text_encoder, pipe.text_encoder_2], words)
    expected, expected_pooled = conditions(pipe, 1)
    assert torch.equal(embeddings, expected)
    assert torch.equal(pooled, expected_pooled)


@torch.no_grad()
def test_a_weighted_word_does_what_as_many_equal_ones_do(pipe):
    noisy = torch.randn(3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([1000.0, 500.0, 10.0])

    def velocity(blanks, **joint):
        embeddings, pooled = conditions(pipe, blanks)
        return pipe.transformer(
            noisy,
            timestep=times,
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            joint_attention_kwargs=joint,
        ).sample

    written_out = velocity(256)
    own = pipe.transformer.attn_processors
    pipe.transformer.set_attn_processor(WeightedAttention())
    weighted = velocity(1, weight=torch.full((3,), 256.0))
    pipe.transformer.set_attn_processor(own)
    assert written_out.std() > 0.1
    assert torch.allclose(weighted, written_out, atol=1e-5)
