"""Hearing: what is heard of a step is how the halves of its only call differ."""

import torch

from frdiff.search.weights.hearing import Hearing

SAMPLE = torch.tensor([[1.0], [2.0]])
BOTH = torch.cat([SAMPLE, SAMPLE])


def heard(*scores, sample=BOTH):
    hearing = Hearing()
    answers = iter(scores)
    forward = hearing.wrapped(lambda sample: next(answers))
    for _ in scores:
        forward(sample)
    return hearing


def test_the_halves_of_one_call_differ_by_what_its_scores_do():
    hearing = heard(torch.tensor([[1.0], [2.0], [5.0], [8.0]]))
    assert hearing.difference(SAMPLE).ravel().tolist() == [4.0, 6.0]
    assert hearing.difference(SAMPLE) is None  # it was the last step's


def test_further_channels_are_left_out_and_twice_stepped_samples_get_it_twice():
    score = torch.tensor([[1.0, 9.0], [2.0, 9.0], [5.0, 0.0], [8.0, 0.0]])
    assert heard(score).difference(SAMPLE).tolist() == [[4.0], [6.0]]
    assert heard(score).difference(BOTH).tolist() == [[4.0], [6.0]] * 2


def test_nothing_is_told_of_two_calls_of_other_samples_or_of_none():
    score = torch.tensor([[1.0], [2.0], [5.0], [8.0]])
    assert heard(score, score).difference(SAMPLE) is None
    assert heard(score, sample=torch.arange(4.0)[:, None]).difference(SAMPLE) is None
    assert heard().difference(SAMPLE) is None
    assert heard(score[:3], sample=BOTH[:3]).difference(SAMPLE) is None
    assert heard(score).difference(torch.ones(2, 1, 1)) is None
