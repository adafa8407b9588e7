"""Goodput of one candidate on a simulated engine: the highest rate of turns that keep the service level, and what is left of it
when half as many again arrive."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from bench.simulator.desk_turns import TurnShape, attained, steady
from bench.simulator.profile import Profile
from bench.tuning.settings import Settings

KEPT: Final = 0.95  # share of turns within the level, for a rate to count as kept
OVERLOAD: Final = 1.5
WEIGHT_OF_OVERLOAD: Final = 0.3
STEPS_UP: Final = 14
BISECTIONS: Final = 5
LEAST_S: Final = 20.0
MOST_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class Level:
    """The service level: the first verified sentence within `slo_s` of the message. `turns_a_point`: simulated for a rate."""

    slo_s: float
    shape: TurnShape = field(default_factory=TurnShape)
    turns_a_point: int = 600


@dataclass(frozen=True, slots=True)
class Goodput:
    """Turns per second within the level: at the highest rate that keeps it, and at 1.5 times that rate."""

    kept_per_s: float
    overloaded_per_s: float

    @property
    def value(self) -> float:
        return (1 - WEIGHT_OF_OVERLOAD) * self.kept_per_s + WEIGHT_OF_OVERLOAD * min(self.overloaded_per_s, self.kept_per_s)


def simulated_goodput(
    profile: Profile, settings: Settings, level: Level, seed: int, reached: Callable[[float], None] = lambda rate: None
) -> Goodput:
    """By doubling, then bisection; `reached` is told the best rate after every point (it may raise to give up).
    Raises SettingsInvalid for settings the engine would refuse."""
    changed = settings.applied(profile)

    def share(rate_per_s: float) -> float:
        seconds = min(MOST_S, max(LEAST_S, level.turns_a_point / rate_per_s))
        turns = steady(changed, rate_per_s, seconds=seconds, seed=seed, shape=level.shape, admission=settings.admission)
        return attained(turns, level.slo_s)

    best = 0.0
    for rate_per_s, kept in _search(share):
        best = max(best, rate_per_s if kept else 0.0)
        reached(best)
    over = OVERLOAD * best
    return Goodput(best, over * share(over) if best else 0.0)


def _search(share: Callable[[float], float]) -> Iterator[tuple[float, bool]]:
    """Rates and whether each is kept: doubled from a small one until one is not, then halved between the last two."""
    low, high = 0.0, 0.125
    for _ in range(STEPS_UP):
        kept = share(high) >= KEPT
        yield high, kept
        if not kept:
            break
        low, high = high, 2 * high
    else:
        return
    for _ in range(BISECTIONS if low else 0):
        middle = (low + high) / 2
        kept = share(middle) >= KEPT
        yield middle, kept
        low, high = (middle, high) if kept else (low, middle)
