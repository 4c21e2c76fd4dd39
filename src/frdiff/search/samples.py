"""What a search draws: the samples to search on, and those kept to measure what was found."""

import math
import random
from collections.abc import Sequence

from frdiff.policy.checks import check_float, quote
from frdiff.sampling import checked_prompts
from frdiff.search.subject import Batch, Subject

__all__ = ["BATCH", "halves_of", "scales_of"]

BATCH = 8
# Of guidance, from the least to the greatest of a range, in either half. The polynomial through
# more of them swings between, and the held-out half sees what it does there.
SCALES = ((1.0, 0.0, 0.5), (1.0, 0.25, 0.75))
SEED_STRIDE = 1_000_003


def scales_of(guidance: float | tuple[float, float] | None) -> list[list[float]]:
    """The guidance scales that each half's samples are drawn at, for a range; none for one scale.

    The greatest is the first, where samplers are hardest pressed.
    """
    if not isinstance(guidance, tuple | list):
        return []
    for end in guidance:
        check_float("guidance", end, 1e-3, 1e6)
    if len(guidance) != 2 or guidance[0] >= guidance[1]:
        raise ValueError(
            f"guidance must be a number, or the least and the greatest, got {quote(guidance)}"
        )
    low, high = guidance
    return [[round(low ** (1 - at) * high**at, 4) for at in places] for places in SCALES]


def halves_of(
    subject: Subject,
    prompts: Sequence[str | int] | None,
    samples: int,
    seed: int,
    scales: Sequence[Sequence[float]] = (),
) -> list[list[Batch]]:
    """The batches of the calibration half and of the held-out half; they share nothing.

    Prompts are drawn from the whole list, each as often as any other, give or take one; a single
    one is in both halves, with other noises.

    Raises:
        TypeError: prompts that are no list, or neither texts nor numbers.
        ValueError: none, of a pipeline that needs some.
    """
    pool = [] if prompts is None else checked_prompts(prompts)
    if not pool:
        if subject.needs_prompts:
            raise ValueError(
                "this pipeline draws from prompts: give some, the more varied the better"
            )
        pool = [""]
    # Lists are often in some order, and samples must be of all kinds.
    random.Random(seed).shuffle(pool)
    halves = [pool[::2], pool[1::2] or pool]
    size = math.ceil(samples / len(scales[0])) if scales else BATCH
    batches = []
    for number, half in enumerate(halves):
        cycle = [half[i % len(half)] for i in range(samples)]
        first = SEED_STRIDE * (2 * seed + number)
        drawn: Sequence[float | None] = scales[number] if scales else [None]
        batches.append(
            [
                Batch(first + i, tuple(cycle[i : i + size]), drawn[i // size % len(drawn)])
                for i in range(0, samples, size)
            ]
        )
    return batches
