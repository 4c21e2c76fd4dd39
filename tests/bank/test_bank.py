import pytest
import torch

from frdiff.bank.bank import Bank
from frdiff.plan import Action, Step

REUSE = Step(Action.REUSE)


def store(bank, value, shape=(2, 3), context=0):
    held = bank.contexts[context]
    held.stored = True
    for slot in held.shelves[0].slots:
        slot.store(..., (torch.full(shape, float(value)),))


def test_forecast_is_linear_in_the_coordinate():
    bank = Bank([1], depth=2)
    for step in (0, 3):
        store(bank, 10 + 2 * step)
        bank.commit(step, keyframe=True)
    bank.aim(5.0, REUSE)
    assert torch.allclose(*bank.contexts[0].shelves[0].value(0)[1], torch.tensor(10 + 2 * 5.0))


def test_one_keyframe_is_copied_whatever_the_order():
    bank = Bank([1], depth=3)
    store(bank, 7)
    bank.commit(0.0, keyframe=True)
    bank.aim(1.0, REUSE)
    assert torch.equal(*bank.contexts[0].shelves[0].value(0)[1], torch.full((2, 3), 7.0))


def test_keeps_no_more_keyframes_than_its_depth():
    bank = Bank([2], depth=2)
    for step in range(5):
        bank.make_room([0], score=True)
        store(bank, step)
        assert bank.nbytes <= 2 * 2 * 6 * 4
        bank.commit(step, keyframe=True)
    assert bank.contexts[0].shelves[0].nodes == [4, 3]
    assert bank.nbytes == 2 * 2 * 6 * 4


def test_padding_shares_memory():
    bank = Bank([1], depth=3)
    store(bank, 1)
    bank.commit(0.0, keyframe=True)
    assert len(bank.contexts[0].shelves[0].slots[0].history) == 3
    assert bank.nbytes == 6 * 4


def test_contexts_are_separate():
    bank = Bank([1], depth=1)
    store(bank, 1, context=0)
    store(bank, 2, context=1)
    bank.commit(0.0, keyframe=True)
    bank.aim(1.0, REUSE)
    assert [bank.contexts[i].shelves[0].value(0)[1][0][0, 0].item() for i in (0, 1)] == [1, 2]


def test_second_evaluation_at_one_noise_level_replaces_the_first():
    bank = Bank([1], depth=2)
    for coordinate, value in [(0.0, 0), (1.0, 5), (1.0, 6)]:
        store(bank, value)
        bank.commit(coordinate, keyframe=True)
    assert bank.contexts[0].shelves[0].nodes == [1.0, 0.0]
    bank.aim(2.0, REUSE)
    assert bank.contexts[0].shelves[0].value(0)[1][0][0, 0].item() == pytest.approx(12)


def test_another_shape_starts_afresh():
    bank = Bank([1], depth=2)
    store(bank, 1)
    bank.commit(0.0, keyframe=True)
    store(bank, 2, shape=(4, 3))
    bank.commit(1.0, keyframe=True)
    assert bank.contexts[0].shelves[0].nodes == [1.0]
    assert bank.contexts[0].shelves[0].slots[0].history[0][0][0].shape == (4, 3)


def test_a_context_that_missed_a_keyframe_is_too_old():
    bank = Bank([1], depth=2)
    store(bank, 1, context=0)
    store(bank, 1, context=1)
    bank.commit(0.0, keyframe=True)
    store(bank, 2, context=0)
    bank.commit(1.0, keyframe=True)
    assert [context.ready for context in bank.contexts[:2]] == [True, False]
    assert bank.contexts[1].shelves[0].slots[0].history == ()


def test_a_call_computed_out_of_turn_ages_no_other():
    bank = Bank([1], depth=1)
    store(bank, 1, context=0)
    bank.commit(0.0, keyframe=True)
    store(bank, 2, context=1)
    bank.commit(1.0, keyframe=False)
    assert [context.ready for context in bank.contexts[:2]] == [True, True]
