"""The largest rate that still meets an objective: bracketed by doubling, closed in by bisection, repeated for its confidence.

Pure: a trial comes in as a function, so that the search is tested on systems whose capacity is known.
"""

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Tried(Generic[T]):
    """One trial: the rate that was offered, whether the objective was met, and what else was seen."""

    rate_per_s: float
    met: bool
    seen: T


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """`estimates` are the results of independent bisections. Empty when not even the lowest rate met the objective. `open_end`:
    the highest rate allowed still met it, so that the capacity is at least that."""

    estimates: tuple[float, ...]
    trials: tuple[Tried[T], ...]
    open_end: bool = False

    @property
    def median(self) -> float:
        return _median(self.estimates)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """A bootstrap interval of the median (Efron 1979): percentiles over resampled estimates."""
        if len(self.estimates) < 2:
            return (self.median, self.median)
        rng = random.Random(0)
        medians = sorted(_median(rng.choices(self.estimates, k=len(self.estimates))) for _ in range(RESAMPLES))
        cut = (1 - level) / 2
        return (medians[int(cut * RESAMPLES)], medians[min(RESAMPLES - 1, int((1 - cut) * RESAMPLES))])


async def search(
    trial: Callable[[float, int], Awaitable[tuple[bool, T]]],
    *,
    lowest: float,
    highest: float,
    repeats: int,
    precision: float = 0.05,
    seed: int = 0,
) -> Found[T]:
    """Double from `lowest` until the objective is missed, then bisect `repeats` times (in the logarithm of the rate) to within
    `precision`, each time with new seeds. A later bisection starts from the bracket of the first, widened by a quarter on both
    sides, and moves it when a side does not hold."""
    trials: list[Tried[T]] = []

    async def met(rate: float) -> bool:
        ok, seen = await trial(rate, seed + len(trials))
        trials.append(Tried(rate, ok, seen))
        return ok

    low, high = 0.0, lowest
    while await met(high):
        if high >= highest:
            return Found((high,), tuple(trials), open_end=True)
        low, high = high, min(high * 2, highest)
    if low == 0.0:
        return Found((), tuple(trials))
    estimates = [await _bisect(met, low, high, precision)]
    for _ in range(repeats - 1):
        low, high = await _bracket(met, estimates[0] / 1.25, min(estimates[0] * 1.25, highest), lowest, highest)
        if low == 0.0:
            estimates.append(lowest)
        else:
            estimates.append(await _bisect(met, low, high, precision))
    return Found(tuple(estimates), tuple(trials))


async def _bracket(
    met: Callable[[float], Awaitable[bool]], low: float, high: float, lowest: float, highest: float
) -> tuple[float, float]:
    """Widen until `low` meets the objective and `high` does not; a low of 0 when nothing does."""
    while not await met(low):
        if low <= lowest:
            return (0.0, low)
        low, high = max(lowest, low / 1.25), low
    while await met(high):
        if high >= highest:
            return (high, high)
        low, high = high, min(highest, high * 1.25)
    return (low, high)


async def _bisect(met: Callable[[float], Awaitable[bool]], low: float, high: float, precision: float) -> float:
    """`low` meets, `high` does not: the geometric middle of where that changes."""
    while high / low > 1 + precision:
        middle = math.sqrt(low * high)
        if await met(middle):
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _median(values: Sequence[float]) -> float:
    if not values:
        return 0.0
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
