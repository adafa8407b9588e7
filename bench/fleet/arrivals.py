"""How sessions and turns follow from users: the day's curve, sales that begin at once, customers who read before they answer.

Daily users x contacts per user = sessions. They begin along a curve with a low at 4 h and highs at 11 h and 21 h, multiplied
while a burst lasts. A session has a geometric number of turns; between the end of one and the next its customer thinks.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.floating[Any]]

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Burst:
    """`factor` times the sessions from `begins_s` on for `lasts_s`."""

    begins_s: float
    lasts_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Day:
    """`contacts_per_user`: sessions a daily user begins on average. `turns`: mean turns of a session; `think_s`: mean seconds
    between an answer and the next message."""

    users: float
    contacts_per_user: float = 0.01
    turns: float = 3.5
    think_s: float = 45.0
    bursts: tuple[Burst, ...] = ()

    @classmethod
    def with_bursts(cls, users: float, rng: np.random.Generator, *, bursts: int, factor: float, **more: float) -> Self:
        """`bursts` sales of ten minutes at random hours between 8 and 23."""
        begins = sorted(float(hour) * 3600 for hour in rng.uniform(8, 23, bursts))
        return cls(users, bursts=tuple(Burst(at, 600.0, factor) for at in begins), **more)

    @property
    def sessions(self) -> float:
        """Of a day without its bursts."""
        return self.users * self.contacts_per_user

    @property
    def goes_on(self) -> float:
        """The chance that a turn is followed by another one."""
        return 1.0 - 1.0 / self.turns

    def sessions_per_s(self, at_s: Seconds) -> Seconds:
        """New sessions per second at these seconds of the day."""
        rate = self.sessions / DAY_S * _curve(at_s) / _MEAN
        for burst in self.bursts:
            inside = (at_s >= burst.begins_s) & (at_s < burst.begins_s + burst.lasts_s)
            rate = np.where(inside, rate * burst.factor, rate)
        return rate


def _curve(at_s: Seconds) -> Seconds:
    hours = at_s / 3600.0
    morning, evening = (np.exp(-(((hours - peak) / 3.2) ** 2)) for peak in (11.0, 21.0))
    after_midnight = np.exp(-(((hours + 3.0) / 3.2) ** 2))  # yesterday's evening
    curve: Seconds = 0.18 + 0.85 * morning + evening + after_midnight
    return curve


_MEAN: Final = float(_curve(np.arange(0, DAY_S, 60, dtype=np.float64)).mean())


def returning(thinking: int, seconds: float, think_s: float, rng: np.random.Generator) -> int:
    """How many of `thinking` customers write their next message within `seconds`."""
    return int(rng.binomial(thinking, 1.0 - math.exp(-seconds / think_s)))
