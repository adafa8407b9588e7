"""How many turns may be in flight, learned from how long they take.

Little's law (1961) says that N turns which take T seconds each mean a throughput of N/T; the N at which they would take the
target is N x target/T. Each window moves the limit towards that, smoothed and clamped: the update of Netflix's
concurrency-limits (Gradient2), with the target in place of its long-term average. An engine that batches is slower the fuller
it is, so its own past is no measure of being too full. What counts is a window's upper quartile: no odd turn moves it, and
where a quarter of the work is customers', theirs is the target that holds.
"""

from dataclasses import dataclass, field

SMOOTHING = 0.2
STEEPEST = 0.5  # a window can ask for half as much, or for half as much again
FULL = 0.8  # a limit is only raised while this part of it is in use: an idle engine proves nothing
WINDOW_S = 1.0
WINDOW_SAMPLES = 8
SLOWEST_WINDOW_S = 10.0  # then a window counts with fewer samples


@dataclass
class Limiter:
    """`limit` in turns. Feed it `sample`s; it has no clock of its own."""

    limit: float
    lowest: float = 2.0
    highest: float = 512.0
    _window_began_s: float | None = None
    _fullest: float = 0.0
    _slowness: list[float] = field(default_factory=list)

    def sample(self, slowness: float, in_flight: int, now_s: float) -> None:
        """A turn took `slowness` times its target, with `in_flight` turns beside it, itself included."""
        if self._window_began_s is None:
            self._window_began_s = now_s
        self._slowness.append(slowness)
        self._fullest = max(self._fullest, in_flight / self.limit)
        lasted = now_s - self._window_began_s
        enough = len(self._slowness) >= WINDOW_SAMPLES and lasted >= WINDOW_S
        if enough or lasted >= SLOWEST_WINDOW_S:
            self._move()
            self._window_began_s, self._fullest, self._slowness = now_s, 0.0, []

    def _move(self) -> None:
        slow = sorted(self._slowness)[len(self._slowness) * 3 // 4]
        wanted = 1 / max(slow, 1e-6)
        gradient = min(max(wanted, 1 - STEEPEST), 1 + STEEPEST)
        if gradient > 1 and self._fullest < FULL:
            return
        moved = self.limit * (1 + SMOOTHING * (gradient - 1))
        self.limit = min(max(moved, self.lowest), self.highest)
