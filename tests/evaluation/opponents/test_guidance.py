"""Guidance is dropped where both halves agree, sample by sample, and only there."""

import pytest
import torch

from conftest import EMBED, call, make_dit_pipe, make_pipe
from frdiff.evaluation.opponents.guidance import _Halves, adaptive_guidance
from frdiff.sampling import sample

NEVER = 1.1


def rows_of(denoiser):
    """A list of the rows that the denoiser's first layer gets, call by call, and the hook."""
    layer = denoiser.conv_in if hasattr(denoiser, "conv_in") else denoiser.pos_embed
    rows = []
    return rows, layer.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))


def test_a_threshold_never_reached_is_the_plain_pipeline():
    pipe = make_pipe()
    before = call(pipe, batch=2)
    rows, _ = rows_of(pipe.unet)
    with adaptive_guidance(pipe, NEVER):
        assert torch.equal(call(pipe, batch=2), before)
    assert rows == [4] * 12


def test_identical_halves_draw_the_same_from_one_of_them():
    pipe = make_pipe()
    embeds = torch.randn(2, 5, EMBED, generator=torch.Generator().manual_seed(0))

    def draw():
        return pipe(
            prompt_embeds=embeds,
            negative_prompt_embeds=embeds,
            height=16,
            width=16,
            num_inference_steps=6,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images

    before = draw()
    rows, _ = rows_of(pipe.unet)
    with adaptive_guidance(pipe, 0.999):
        assert torch.allclose(draw(), before, atol=1e-5)
    assert rows == [4, 2, 2, 2, 2, 2]


def test_of_a_dit_the_condition_is_left_too():
    pipe = make_dit_pipe()
    labels = []
    embedder = pipe.transformer.transformer_blocks[0].norm1.emb.class_embedder
    embedder.register_forward_hook(lambda module, args, out: labels.append(args[0].tolist()))
    with adaptive_guidance(pipe, -NEVER):
        sample(pipe, ["1", "2"], steps=3, guidance=5.0)
    # A DiT embeds them in its first block and once more at its end.
    assert labels[::2] == labels[1::2] == [[1, 2, 1000, 1000], [1, 2], [1, 2]]


class Agreeing(torch.nn.Module):
    """Halves of sample i agree from call `agree[i]` on; the score tells who was asked."""

    def __init__(self, agree):
        super().__init__()
        self.agree, self.calls, self.batches = agree, 0, []

    def forward(self, sample, timestep, label):
        self.batches.append(label.tolist())
        turn = [
            label[i] < 0 and self.calls < self.agree[-int(label[i]) - 1] for i in range(len(label))
        ]
        self.calls += 1
        score = torch.ones_like(sample)
        score[torch.tensor(turn)] = -1
        return (score * (1 + timestep),)


def test_a_batch_shrinks_sample_by_sample():
    net = Agreeing(agree=[2, 1])
    halves = _Halves(net.forward, 0.5, known_first=False)
    x, labels = torch.zeros(4, 1, 2, 2), torch.tensor([-1, -2, 1, 2])
    scores = [halves(x, 0.0, label=labels)[0][:, 0, 0, 0].tolist() for _ in range(5)]
    assert net.batches == [[-1, -2, 1, 2], [-1, -2, 1, 2], [-1, 1, 2], [1, 2], [1, 2]]
    assert scores == [[-1, -1, 1, 1], [-1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    halves.begin()
    halves(x, 0.0, label=labels)
    assert len(net.batches[-1]) == 4


def test_what_is_not_guided_in_one_batch_is_left_alone():
    pipe = make_pipe()
    before = call(pipe, guidance_scale=1.0)
    with adaptive_guidance(pipe, -NEVER):
        assert torch.equal(call(pipe, guidance_scale=1.0), before)
    assert "forward" not in vars(pipe.unet)


@pytest.mark.parametrize("threshold", [0.9, 0.99])
def test_larger_thresholds_guide_for_longer(threshold):
    pipe = make_pipe()
    rows, _ = rows_of(pipe.unet)
    with adaptive_guidance(pipe, threshold):
        call(pipe, batch=1)
    assert 12 <= sum(rows) <= 24 and rows == sorted(rows, reverse=True)
