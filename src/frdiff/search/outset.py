"""What a search begins with: its targets, what there is to choose from, the converged solution."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from frdiff.adapters import find_targets
from frdiff.engines import Engine, in_order
from frdiff.policy import RangePolicy, TablePolicy, Targets, loads
from frdiff.policy.checks import check_float, checked_list
from frdiff.search.account import Account
from frdiff.search.journal import Journal
from frdiff.search.measure import Measure, digest_of
from frdiff.search.options import Options
from frdiff.search.schedules.space import Space, in_full, table_of
from frdiff.search.solvers import Lengths, Truth, converged
from frdiff.search.subject import Batch, Job, Subject, drawing
from frdiff.search.tuner import AGREED, RECORDED, Learner
from frdiff.search.weights.learn import Learnt, learn_table
from frdiff.search.weights.record import Recording, record
from frdiff.search.weights.steer import steered_weights
from frdiff.setting import Setting

__all__ = ["learner_of", "space_of", "targets_of", "truth_of"]

TAILS = (0, 1, 2, 3, 4, 6)


def targets_of(subject: Subject, options: Options) -> Targets:
    """The targets to reuse; none where no step reuses features, or where there are none.

    Raises:
        ValueError: targets that were asked for, and are not there.
    """
    if "reuse" not in options.vary and options.method == "search":
        return ()
    try:
        for denoiser in subject.denoisers:
            find_targets(denoiser, options.targets)
    except ValueError as error:
        return _do_without(options, error)
    return options.targets


def _do_without(options: Options, error: Exception) -> Targets:
    """No targets, where all there are were asked for; else the error."""
    if options.targets != "all" or "jumps" not in options.vary or options.method != "search":
        raise error
    warnings.warn(
        f"no features can be reused, so steps between keyframes are jumps only: {error}",
        UserWarning,
        stacklevel=5,
    )
    return ()


def space_of(
    subject: Subject,
    num_steps: int,
    solvers: Sequence[str | None],
    batch: Batch,
    targets: Targets,
    options: Options,
    notes: Journal,
) -> Space:
    """What there is to choose from.

    Args:
        targets: to reuse, see `targets_of`.
    """
    vary = options.vary
    few = batch.part(0, subject.per_call or RECORDED)

    def recorded(targets: Targets, solver: str | None, steps: int) -> Recording:
        return record(subject, Setting(steps, None, solver), few, targets, options.overhead)

    def steerer(setting: Setting, recording: Recording) -> TablePolicy:
        question = f"score weights {digest_of(setting)}"
        if question not in notes:
            notes[question] = steered_weights(subject, setting, recording, few)
        return replace(table_of(setting), score_weights=notes[question])

    try:
        full = recorded(targets, None, num_steps)
    except (TypeError, ValueError) as error:
        if not targets:
            raise
        targets = _do_without(options, error)
        full = recorded(targets, None, num_steps)
    if not subject.takes_steps and full.steps != num_steps:
        raise ValueError(f"a run takes {full.steps} steps, but num_steps is {num_steps}")
    length = Lengths(subject, num_steps, few)
    kinds = [jumps for jumps, name in ((False, "reuse"), (True, "jumps")) if name in vary]
    return Space(
        num_steps=num_steps,
        full=full.steps,
        varies_steps="steps" in vary and subject.takes_steps,
        prices=full.prices,
        solvers=[solver for solver in solvers if length(solver, num_steps)],
        length=length,
        recorder=partial(recorded, targets),
        steerer=steerer,
        targets=targets,
        fits=(True, False) if "weights" in vary else (False,),
        tails=TAILS if "targets" in vary else TAILS[:1],
        kinds=[jumps for jumps in kinds if jumps or targets],
        recordings={(None, num_steps): full},
    )


def truth_of(
    subject: Subject,
    space: Space,
    batch: Batch,
    notes: Journal,
    engine: Engine[Job, Any],
    account: Account,
) -> Truth:
    """The converged solution, decided on a few samples, once for a journal."""
    few = batch.part(0, subject.per_call or AGREED)
    question = f"converged {subject.peak}"

    def draws(settings: Sequence[Setting]) -> Iterator[np.ndarray]:
        jobs = [drawing(setting, few) for setting in settings]
        for setting, drawn in zip(settings, in_order(engine(jobs)), strict=True):
            account.drawn(space.cost(setting) / space.full, len(few.prompts))
            yield drawn.samples

    if question not in notes:
        account.tell("choosing a converged solution")
        found = converged(subject, space.num_steps, space.length, draws)
        setting = found.setting
        notes[question] = [setting.scheduler, setting.steps, found.agreement, found.drawn]
    solver, steps, agreement, drawn = checked_list("the converged solution", notes[question])
    return Truth(Setting(steps, in_full(space.length(solver, steps)), solver), agreement, drawn)


def learner_of(
    subject: Subject, measure: Measure, notes: Journal, full: int, account: Account
) -> Learner:
    """What learns tables, each once for a journal; see `frdiff.search.weights.learn`.

    Args:
        measure: whose samples it learns from.
        full: steps of the full run.
    """

    def learn(setting: Setting, allowed: float) -> Learnt | None:
        question = f"learnt {digest_of(setting)} {allowed:.3f}"
        if question not in notes:
            wanted = [drawn.latents for drawn in measure.true]
            batches = measure.batches

            def on_round(share: float) -> None:
                account.learning(share * allowed / full, f"learning weights, {share:.0%}")

            found = learn_table(subject, setting, batches, wanted, allowed, on_round)
            account.learnt()
            notes[question] = None if found is None else [found.policy.dumps(), found.spent]
        if notes[question] is None:
            return None
        text, spent = checked_list("what was learnt, in the journal", notes[question])
        policy = loads(text)
        check_float("what learning took", spent, 0, 1e9)
        if not isinstance(policy, TablePolicy | RangePolicy):
            raise ValueError(f"the journal must have a table, got {policy!r}")
        return Learnt(policy, spent)

    return learn
