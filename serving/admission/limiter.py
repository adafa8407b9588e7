"""How many turns may be in flight, learned from how long they take.

Little's law (1961) says that N turns which take T seconds each mean a throughput of N/T; the N at which they would take a
wanted time is N x wanted/T. Each window moves the limit towards that, smoothed and clamped, as Gradient2 of Netflix's
concurrency-limits does. There, wanted is a multiple of the long-term average. An engine that batches is slower the fuller it
is, so its own average is no measure of being too full: here wanted is the larger of a set time (`bearable`) and the same
multiple of what turns take when few are in flight. A window's upper quartile counts: no odd turn moves it.

The gate has two. For everyone the set time is the target: an engine that batches does more the fuller it is, so as long as
turns are in time, waiting at the door would only add to them. For a tenant far above its part it is a quarter of the target
(`QUICK`): there the multiple counts, and leaves the others an engine that is not full.

Where brown-out keeps nearly every turn from the model, nothing is learned, and a limit that fell too low would let in too few
for the queue to end, which is what the brown-out waits for. So a window that tells of hardly any engine goes back towards the
first limit, by doubling.
"""

import math
import statistics
from dataclasses import dataclass, field

from agents.domain.brownout import Brownout

RISING, FALLING = 0.2, 0.5  # how much of the way a window moves the limit: what is too much is taken back faster
STEEPEST = 0.5  # a window can ask for half as much, or for half as much again
FULL = 0.7  # a limit is only raised while this part of it is in use: an idle engine proves nothing
WINDOW_S = 1.0
WINDOW_SAMPLES = 8
TOLERANCE = 2.0  # times what turns take when it is quiet: more fills the engine, less keeps tenants apart
QUICK = 0.25  # of the target: what is that quick are the desk's own times, and no sign of a full engine
QUIET, QUIET_PART = 4, 1 / 3  # turns in flight, or part of the limit, up to which a window counts as quiet
REMEMBERED_S = 7 * 86400.0  # in this time the quietest window counts for twice as much: engines change
SLOWEST_WINDOW_S = 10.0  # then a window counts with fewer samples


@dataclass
class Limiter:
    """`limit` in turns. Feed it `sample`s, in times of the target; it has no clock of its own. What takes `bearable` times the
    target or less is not slow, however much quicker it is when nobody else is about."""

    limit: float
    lowest: float = 2.0
    highest: float = 512.0
    bearable: float = 1.0
    tolerance: float = TOLERANCE
    _first: float = field(init=False)
    _quietest: float | None = None
    _window_began_s: float | None = None
    _most: int = 0
    _slowness: list[float] = field(default_factory=list)
    _whole: list[float] = field(default_factory=list)
    _in_full: bool = True
    _unasked: int = 0

    def __post_init__(self) -> None:
        self._first = self.limit

    def sample(self, slowness: float | None, in_flight: int, now_s: float, level: Brownout = Brownout.NORMAL) -> None:
        """A turn took `slowness` times its target, `in_flight` turns beside it, itself included, at a `level` of brown-out;
        None where brown-out kept it from the engine. From one call on, too much was left out to say how slow whole turns are;
        and what turns take when it is quiet is only told where each of them was done in full: a window after an overload
        would set it far too low, for good."""
        if self._window_began_s is None:
            self._window_began_s = now_s
        if slowness is None:
            self._unasked += 1
        else:
            self._slowness.append(slowness)
            self._most = max(self._most, in_flight)
            if level < Brownout.ONE_CALL:
                self._whole.append(slowness)
        self._in_full = self._in_full and level is Brownout.NORMAL
        lasted = now_s - self._window_began_s
        enough = len(self._slowness) >= WINDOW_SAMPLES and lasted >= WINDOW_S
        if enough or lasted >= SLOWEST_WINDOW_S:
            self._move(lasted)
            self._window_began_s, self._most, self._unasked = now_s, 0, 0
            self._slowness, self._whole, self._in_full = [], [], True

    def _move(self, lasted_s: float) -> None:
        whole = len(self._whole) >= WINDOW_SAMPLES // 2
        told = sorted(self._whole if whole else self._slowness)  # cut-down turns must not hide how slow whole ones are
        slow = told[len(told) * 3 // 4] if told else 0.0
        if self._quietest is not None:
            self._quietest *= 1 + lasted_s / REMEMBERED_S
        if whole and self._in_full and self._most <= max(QUIET, QUIET_PART * self.limit):
            self._quietest = min(self._quietest or math.inf, statistics.median(self._whole))
        bearable = 1.0 if self._quietest is None else max(self.tolerance * self._quietest, self.bearable)
        wanted = bearable / max(slow, 1e-6)
        gradient = min(max(wanted, 1 - STEEPEST), 1 + STEEPEST)
        if gradient >= 1 and self._unasked >= WINDOW_SAMPLES > len(self._slowness):
            self.limit = max(self.limit, min(2 * self.limit, self._first))
            return
        if gradient > 1 and self._most < FULL * math.floor(self.limit):
            return
        moved = self.limit * (1 + (RISING if gradient > 1 else FALLING) * (gradient - 1))
        self.limit = min(max(moved, self.lowest), self.highest)
