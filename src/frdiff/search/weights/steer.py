"""Steering: score weights chosen while samples are drawn, so that they stay where a full run leads.

Scores of jumps are predicted and miss a little, and what they have missed cannot be undone. But
every solver's step is linear in its score, so how far the sample has strayed from the full run's
is known at every step (`frdiff.search.weights.influence`), and the step's own weights can make up
for it: those of the scores that a jump predicts from, and at a keyframe those of its own score and
of earlier ones. It is what UniPC's corrector does (Zhao et al., NeurIPS 2023, arXiv 2302.04867,
section 3.1), for any solver, over several steps, and fitted to the model: in closed form, in one
run.
"""

from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

from frdiff.policy.table import MAX_WEIGHTS
from frdiff.search.schedules.space import table_of
from frdiff.search.subject import Batch, Subject, altered_scores
from frdiff.search.weights.fit import fit_robust
from frdiff.search.weights.record import Recording, elements_of
from frdiff.setting import Setting

__all__ = ["steered_weights"]

EARLIER = MAX_WEIGHTS - 1  # scores that a keyframe weighs beside its own
KEYFRAME_RIDGE = 1e-2
JUMP_RIDGE = 1.0  # jumps stay near their prediction
MOST = 50.0  # beyond it a weight is no correction any more


def steered_weights(
    subject: Subject, setting: Setting, recording: Recording, batch: Batch
) -> list[list[float]]:
    """Score weights for every step of a table of jumps, found in one run of it; they sum to 1.

    A keyframe's own score is the first of those it weighs.

    Args:
        setting: its table's score weights are where those of jumps begin.
        recording: of the full run with these steps and this solver, with influences.
        batch: the samples recorded.
    """
    table = table_of(setting)
    wheel = _Wheel(recording, table.plan(table.num_steps).keyframes, table.score_weights or [])
    with altered_scores(subject, setting.scheduler, wheel.turn):
        subject.draw(Setting(setting.steps, table), batch)
    return wheel.rows


class _Wheel:
    """Sees the scores of one run, step by step, and changes them.

    Attributes:
        rows: the weights chosen so far.
        strayed: by how much the final samples are off if all later scores are the recorded ones,
            shape (samples, elements).
    """

    def __init__(
        self, recording: Recording, keyframes: Collection[int], begun: Sequence[Sequence[float]]
    ) -> None:
        if recording.influence is None:
            raise ValueError("steering needs to know the influence of every step")
        self.recording = recording
        self.influence = recording.influence
        self.keyframes = keyframes
        self.begun = begun
        self.rows: list[list[float]] = []
        self.strayed = np.zeros(recording.scores.shape[1:])
        self.stored: list[Tensor] = []

    def turn(self, score: Tensor) -> Tensor:
        """The score that the next step takes instead of `score`."""
        step = len(self.rows)
        if step in self.keyframes:
            nodes = [score, *self.stored]
            self.stored = nodes[:EARLIER]
            row = self._row(step, nodes, [1.0], KEYFRAME_RIDGE)
        else:
            begun = self.begun[step]
            nodes = self.stored[: len(begun)]
            row = self._row(step, nodes, begun, JUMP_RIDGE)
        self.rows.append(row)
        newest, *older = nodes
        taken = newest
        for weight, node in zip(row[1:], older, strict=True):
            taken = taken + weight * (node - newest)
        missed = elements_of(taken) - self.recording.scores[step]
        self.strayed += self.influence[step] * missed
        return taken

    def _row(
        self, step: int, nodes: Sequence[Tensor], begun: Sequence[float], ridge: float
    ) -> list[float]:
        """Weights of the scores `nodes`, newest first, that leave the samples least astray."""
        begun = [*begun, *[0.0] * (len(nodes) - len(begun))]
        with np.errstate(all="ignore"):
            # The score that would bring the samples back.
            wanted = self.recording.scores[step] - self.strayed / self.influence[step]
            stack = np.stack([wanted, *map(elements_of, nodes)])
            row = fit_robust(np.einsum("ase,bse->sab", stack, stack), begun, ridge)
        return row if (np.abs(row) <= MOST).all() else begun
