"""How many turns may be in flight, learned from how long they take.

Little's law (1961) says that N turns which take T seconds each mean a throughput of N/T; the N at which they would take the
target is N x target/T. Each window moves the limit towards that, smoothed and clamped: the update of Netflix's
concurrency-limits (Gradient2), with the target in place of its long-term average. An engine that batches is slower the fuller
it is, so its own past is no measure of being too full. What counts is a window's upper quartile: no odd turn moves it, and
where a quarter of the work is customers', theirs is the target that holds. Where turns take long although few are
in flight, fewer would not make them faster: no target is shorter than a multiple of what the quietest windows took.
"""

import math
import statistics
from dataclasses import dataclass, field

RISING, FALLING = 0.2, 0.5  # how much of the way a window moves the limit: what is too much is taken back faster
STEEPEST = 0.5  # a window can ask for half as much, or for half as much again
FULL = 0.8  # a limit is only raised while this part of it is in use: an idle engine proves nothing
WINDOW_S = 1.0
WINDOW_SAMPLES = 8
AT_LEAST = 2.0  # times what turns take when it is quiet: no target is shorter than that
QUIET = 4  # in flight
REMEMBERED_S = 3600.0  # in this time the quietest window counts for twice as much: engines change
SLOWEST_WINDOW_S = 10.0  # then a window counts with fewer samples


@dataclass
class Limiter:
    """`limit` in turns. Feed it `sample`s; it has no clock of its own."""

    limit: float
    lowest: float = 2.0
    highest: float = 512.0
    _quietest: float | None = None
    _window_began_s: float | None = None
    _most: int = 0
    _slowness: list[float] = field(default_factory=list)

    def sample(self, slowness: float, in_flight: int, now_s: float) -> None:
        """A turn took `slowness` times its target, with `in_flight` turns beside it, itself included."""
        if self._window_began_s is None:
            self._window_began_s = now_s
        self._slowness.append(slowness)
        self._most = max(self._most, in_flight)
        lasted = now_s - self._window_began_s
        enough = len(self._slowness) >= WINDOW_SAMPLES and lasted >= WINDOW_S
        if enough or lasted >= SLOWEST_WINDOW_S:
            self._move(lasted)
            self._window_began_s, self._most, self._slowness = now_s, 0, []

    def _move(self, lasted_s: float) -> None:
        slow = sorted(self._slowness)[len(self._slowness) * 3 // 4]
        if self._quietest is not None:
            self._quietest *= 1 + lasted_s / REMEMBERED_S
        if self._most <= QUIET:
            self._quietest = min(self._quietest or math.inf, statistics.median(self._slowness))
        wanted = max(1.0, AT_LEAST * (self._quietest or 0.0)) / max(slow, 1e-6)
        gradient = min(max(wanted, 1 - STEEPEST), 1 + STEEPEST)
        if gradient > 1 and self._most < FULL * self.limit:
            return
        moved = self.limit * (1 + (RISING if gradient > 1 else FALLING) * (gradient - 1))
        self.limit = min(max(moved, self.lowest), self.highest)
