"""Is the desk's own processor what is short? Budget and brown-out spare the engine: a flood cut down to the pack's wording
costs the engine nothing, so it goes in as fast as it comes, and takes the processor the others' turns need.

The sign is how late the event loop wakes a sleeper. Once it is late on average, a tenant that took far more than its part of
the last turns goes in only as the sleeper is woken in time, one turn each time: the fuller the processor, the rarer that is.
What a punctual moment allows then doubles every few seconds, until the loop is late again or it is so much that nobody is held.
"""

from dataclasses import dataclass

LATE_S = 0.005  # on average. A turn comes back to the loop dozens of times
LATEST_S = 5 * LATE_S  # no one lag counts for more: a collection of garbage is no strain
SMOOTHING = 0.1  # the weight of each lag
PUNCTUAL_S = 0.002  # nothing else was to be done: the loop's own timers count whole milliseconds
DOUBLED_S = 10.0
FREE = 64.0  # turns a punctual moment allows, from where on nobody is held


@dataclass
class Strain:
    """Feed it what the sleeper saw; it has no clock of its own."""

    lag_s: float = 0.0
    _each: float = FREE
    _left: float = 0.0
    _heard_s: float | None = None

    def hear(self, lag_s: float, now_s: float) -> None:
        """The loop woke a sleeper `lag_s` late."""
        passed_s = 0.0 if self._heard_s is None else now_s - self._heard_s
        self._heard_s = now_s
        self.lag_s += (min(lag_s, LATEST_S) - self.lag_s) * SMOOTHING
        if self.lag_s > LATE_S:
            self._each = 1.0
        elif self._each < FREE:
            self._each *= 2 ** (passed_s / DOUBLED_S)
        self._left = self._each if lag_s <= PUNCTUAL_S else 0.0

    @property
    def holds(self) -> bool:
        """Whether who took far more than its part may be held at all."""
        return self._each < FREE

    @property
    def spent(self) -> bool:
        """Whether who took far more than its part is held now."""
        return self.holds and self._left < 1.0

    def take(self) -> None:
        """A turn of such a tenant went in."""
        self._left -= 1.0
