"""Following: every step ends where the converged solution passes, as near as weights bring it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import ddim, make_dit_pipe, make_pipe
from frdiff.engines import local_engine
from frdiff.network.calls import tensor_of
from frdiff.sampling import set_scheduler
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure
from frdiff.search.schedules.space import in_full
from frdiff.search.schedules.spread import Spread
from frdiff.search.subject import Batch, PipelineSubject, work_on
from frdiff.search.weights.follow import Path, follow, outset_of, walked
from frdiff.search.weights.guide import Guide, followed
from frdiff.search.weights.influence import responses
from frdiff.setting import Setting

BATCH = Batch(0, ("1", "2", "3"))
CONVERGED = Setting(60, in_full(60), "unipckarras")


def squares(one, other):
    return np.square(one - other).mean()


def path_of(subject, batch=BATCH):
    drawn, path = walked(subject, CONVERGED, batch)
    return drawn.latents, path


@pytest.mark.parametrize("solver", ["ddim", "dpm++", "dpm++karras", "unipckarras", "euler", "lms"])
def test_a_run_of_few_steps_ends_nearer_to_the_converged_solution(solver):
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    truth, path = path_of(subject)
    start = Setting(6, in_full(6), solver)
    outset = outset_of(subject, start, BATCH)
    found = follow(subject, start, outset, outset.levels, BATCH, path)
    table, missed = found.table, found.missed
    assert table.plan(6).keyframes == tuple(range(6))  # as many calls
    assert [len(row) for row in table.score_weights] == [1, 2, 3, 4, 4, 4]
    assert len(table.guidance_weights) == 6 and any(table.guidance_weights)
    plain, found = (subject.draw(replace(start, policy=one), BATCH) for one in (in_full(6), table))
    assert squares(found, truth) < 0.75 * squares(plain, truth)
    # What it says of itself, of each sample and not of all together.
    rows = [squares(*pair) for pair in zip(found, truth, strict=True)]
    assert missed == pytest.approx(np.log(rows).mean(), abs=0.02)
    # And so on samples that it was not made from.
    other = Batch(50, ("1", "2", "3"))
    truth, _ = path_of(subject, other)
    plain, found = (subject.draw(replace(start, policy=one), other) for one in (in_full(6), table))
    assert squares(found, truth) < 0.75 * squares(plain, truth)


def test_a_run_that_is_on_its_path_takes_its_scores_as_they_are():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    start = Setting(8, in_full(8), "dpm++karras")
    _, path = walked(subject, start, BATCH)
    outset = outset_of(subject, start, BATCH)
    table = follow(subject, start, outset, outset.levels, BATCH, path).table
    assert [row[0] for row in table.score_weights] == pytest.approx([1] * 8, abs=1e-3)
    others = [weight for row in table.score_weights for weight in row[1:]]
    others += table.sample_weights
    others += table.guidance_weights
    assert others == pytest.approx([0] * len(others), abs=1e-3)


def test_other_noise_levels_are_laid_and_own_ones_are_not():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    _, path = path_of(subject)
    start = Setting(6, in_full(6), "dpm++")
    outset = outset_of(subject, start, BATCH)
    assert outset.takes_levels and outset.weighs_samples
    own = follow(subject, start, outset, outset.levels, BATCH, path)
    assert own.table.noise_levels is None
    levels = Spread(5, 1).levels(outset.levels)
    other = follow(subject, start, outset, levels, BATCH, path)
    assert list(other.table.noise_levels) == levels
    beyond = [level + 1 for level in levels]
    assert follow(subject, start, outset, beyond, BATCH, path) is None


def test_a_cubic_path_is_known_between_its_points():
    levels = np.linspace(2, -2, 9)
    samples = np.append(levels**3 - levels, 7.0)[:, None, None].astype(np.float32)
    path = Path(levels, samples)
    places = path.through([1.9, 0.3, -1.77])
    assert [place.item() for place in places] == pytest.approx(
        [level**3 - level for level in (1.9, 0.3, -1.77)] + [7], abs=1e-5
    )
    assert path.through([2.1]) is None and path.through([-2.1]) is None


@pytest.mark.parametrize("name", ["ddim", "euler", "dpm++karras", "unipckarras", "lms"])
def test_samples_are_what_responses_say_of_the_first_one_and_the_scores(name):
    scheduler = set_scheduler(make_pipe(scheduler=ddim()), name)
    scheduler.set_timesteps(6)
    found = responses(scheduler, {"num_inference_steps": 6}, 6)
    scheduler.set_timesteps(6)
    moves = torch.randn(7, generator=torch.Generator().manual_seed(0))
    sample = moves[0].view(1, 1, 1, 1)
    for step, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, timestep)
        sample = tensor_of(scheduler.step(moves[step + 1].view(1, 1, 1, 1), timestep, sample))
        assert sample.item() == pytest.approx(found[step] @ moves.double().numpy(), rel=1e-3)
        assert not found[step, step + 2 :].any()  # nothing of scores that are yet to come


def test_what_adds_noise_is_on_no_path():
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    ancestral = Setting(6, in_full(6), "ddpm")
    outset = outset_of(subject, ancestral, BATCH)
    _, path = path_of(subject)
    assert outset is None or follow(subject, ancestral, outset, outset.levels, BATCH, path) is None


def engine(jobs):
    return local_engine(work_on(PipelineSubject(make_dit_pipe(), latents=True)))(jobs)


def test_a_guide_follows_at_every_guidance_of_a_range_and_remembers(tmp_path):
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    batches = [Batch(4 * i, ("1", "2"), scale) for i, scale in enumerate((4.0, 1.5, 4.0))]
    assert [batch.guidance for batch in followed(batches)] == [1.5, 4.0]
    assert followed([BATCH, Batch(9, ("1",))]) == [BATCH]
    found = []
    for _ in range(2):
        notes = Journal(tmp_path / "journal", {})
        guide = Guide(subject, notes, followed(batches), engine)
        measure = Measure(engine, CONVERGED, batches, notes, "half", None, guide)
        rivals = [Setting(n, in_full(n), name) for n, name in ((6, "dpm++"), (5, "unipc"))]
        found.append(guide.settings([*rivals, replace(rivals[0], scheduler="euler")], measure))
        # Two beginnings of one step; up to 14 kinds of noise levels and the own, of 6 steps and at
        # 2 scales; 2 samples each. Or as the journal says.
        assert 2 * 2 + 7 * 6 * 2 * 2 <= guide.spent <= 2 * 2 + 15 * 6 * 2 * 2
        assert (guide.spent - 4) % 24 == 0
    assert found[0] == found[1]
    *spread, own = found[0]
    assert len(spread) == 3 and {setting.steps for setting in found[0]} == {6}
    assert {setting.policy.guidances for setting in found[0]} == {(1.5, 4.0)}
    laid = [setting.policy.tables[0].noise_levels for setting in found[0]]
    assert own.scheduler == "dpm++" and laid[-1] is None and len({*laid}) == 4


def test_a_guide_knows_nothing_where_no_path_is_known(tmp_path):
    subject = PipelineSubject(make_dit_pipe(), latents=True)
    notes = Journal(tmp_path / "journal", {})
    guide = Guide(subject, notes, [BATCH], engine)
    noisy = Setting(6, in_full(6), "ddpm")
    measure = Measure(engine, noisy, [BATCH], notes, "half", None, guide)
    assert guide.settings([noisy], measure) == []
    assert guide.settings([], measure) == []
