import math

import numpy as np
import pytest
import torch

from conftest import make_dit_pipe
from frdiff.evaluation.analysis import analyze, prompts_for, radial_power, similarity
from frdiff.evaluation.page.analysis_figures import draw_analysis


def test_a_wave_has_power_at_its_own_frequency_alone():
    wave = torch.cos(2 * math.pi * 3 * torch.arange(16, dtype=torch.float64) / 16).expand(
        2, 4, 16, 16
    )
    power = radial_power(wave)
    assert power.argmax() == 3
    assert np.delete(power, 3).max() < 1e-20


def test_power_adds_up_to_the_squares():
    field = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frequencies = torch.fft.fftfreq(8, 1 / 8)
    radius = (frequencies[:, None] ** 2 + frequencies**2).sqrt().round().clamp(max=4).int()
    counts = torch.bincount(radius.flatten()).numpy()
    assert (radial_power(field) * counts).sum() == pytest.approx(field.square().sum().item())


def test_similarity_by_hand():
    feature = torch.tensor([[1.0, -2.0, 2.0]])
    found = similarity("f", [feature, 2 * feature, -feature])
    assert np.allclose(found.cosine, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    # Row step against column step, relative to the column.
    assert np.allclose(found.l1, [[0, 0.5, 2], [1, 0, 3], [2, 1.5, 0]])


def test_analysis_of_a_pipeline(tmp_path):
    pipe = make_dit_pipe()
    own = pipe.scheduler
    seen = []
    found = analyze(
        pipe, ["1", "2"], steps=12, guidance=2.0, on_event=lambda line, done, all: seen.append(done)
    )
    assert len(found.similarities) == len(found.prices) == 4
    for row in found.similarities:
        assert row.cosine.shape == row.l1.shape == (12, 12)
        assert np.allclose(np.diagonal(row.cosine), 1, atol=1e-5)
    assert found.spectra.reuse.shape == found.spectra.jumps.shape == (49, 5)
    # The first step is a keyframe for both; from the third on both err.
    assert (found.spectra.reuse[0] == 0).all() and (found.spectra.jumps[3] > 0).all()
    assert all(0 < price.saved < 1 and price.error > 0 for price in found.prices)
    assert sum(price.saved for price in found.prices) < 1
    assert seen == sorted(seen)
    assert pipe.scheduler is own and not pipe.transformer._forward_pre_hooks
    paths = draw_analysis(found, tmp_path, "tiny")
    assert [path.name for path in paths] == [
        f"analysis-tiny-{part}.png" for part in ("similarity", "spectrum", "price")
    ]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_prompts_must_come_from_somewhere():
    assert prompts_for("mine", ["a"], 3, seed=0) == ("a", "a", "a")
    with pytest.raises(ValueError, match="mine ships no prompts"):
        prompts_for("mine", [], 3, seed=0)
