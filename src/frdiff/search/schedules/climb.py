"""Local search over keyframes on the true error, at a fixed number of them."""

import random
from collections.abc import Callable, Iterator, Sequence

__all__ = ["climb"]

Keyframes = tuple[int, ...]
FAR = 0.2
PATIENCE = 200


def climb(
    start: Keyframes,
    num_steps: int,
    evaluate: Callable[[Sequence[Keyframes]], Sequence[float]],
    *,
    evaluations: int,
    seed: int = 0,
    generation: int = 4,
) -> tuple[Keyframes, float]:
    """The best keyframes found and their value, never worse than the start.

    Every generation moves one keyframe of the best schedule, each proposal another one, and takes
    the best that improves it. Where two improve it, both moves together are tried next. Proposals
    of a generation do not depend on one another, so they may be evaluated in parallel; the result
    is the same.

    Args:
        start: ascending, 0 first.
        evaluate: values of schedules, lower is better.
        evaluations: schedules to evaluate at most, the start included.
        generation: schedules evaluated at a time.
    """
    rng = random.Random(seed)
    best, value = start, evaluate([start])[0]
    seen = {start}
    combined: Keyframes | None = None
    while len(seen) < evaluations:
        wanted = min(generation, evaluations - len(seen))
        proposals = [combined] if combined is not None and combined not in seen else []
        for proposal in _neighbours(best, num_steps, rng):
            if len(proposals) == wanted:
                break
            if proposal not in seen and proposal not in proposals:
                proposals.append(proposal)
        if not proposals:
            break
        seen.update(proposals)
        ranked = sorted(zip(evaluate(proposals), proposals, strict=True))
        better = [proposal for found, proposal in ranked if found < value]
        combined = _combined(best, *better[:2]) if len(better) > 1 else None
        if better:
            best, value = better[0], ranked[0][0]
    return best, value


def _neighbours(keyframes: Keyframes, num_steps: int, rng: random.Random) -> Iterator[Keyframes]:
    """Schedules with one keyframe moved, near or, one time in five, anywhere; some come twice."""
    free = [step for step in range(1, num_steps) if step not in keyframes]
    if not free or len(keyframes) < 2:
        return
    for _ in range(PATIENCE):
        moved = rng.choice(keyframes[1:])
        if rng.random() < FAR:
            place = rng.choice(free)
        else:
            place = moved + rng.choice((-2, -1, 1, 2))
        if place in free:
            yield tuple(sorted({*keyframes, place} - {moved}))


def _combined(base: Keyframes, first: Keyframes, second: Keyframes) -> Keyframes | None:
    """Both moves together; None if they move the same keyframe or to the same place."""
    both = {*base} - ({*base} - {*first}) - ({*base} - {*second})
    both |= {*first, *second} - {*base}
    return tuple(sorted(both)) if len(both) == len(base) else None
