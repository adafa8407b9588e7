"""Brown-out: how much a turn may ask of the engine, in steps, before anyone is refused.

Three things press: a tenant's own wait for admission (a flood of one tenant shortens that tenant's replies, nobody else's), an
engine that is slow although little is in flight, and an engine that does not answer. As in CoDel (Nichols and Jacobson, 2012)
it is the least wait of an interval that counts: a burst passes, a standing queue stays. Levels rise one a interval, and fall
one at a time after calm: between the two thresholds a level stays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from agents.domain.brownout import Brownout
from agents.ports import Allowance
from serving.admission.breaker import Breaker
from serving.admission.place import Listener, Place, Reason

INTERVAL_S = 0.5
CALM_S = 5.0  # how long it must be calm before a level falls
CALM_BELOW = 0.5  # of the present level's threshold
FORGOTTEN_S = 60.0
WAIT_TIMES = {1: 1.0, 2: 2.0, 3: 4.0, 4: 8.0}
"""A level's threshold in queue targets. With the default target a wait of half a second shortens replies; one of four
seconds leaves the model out."""
SLOW_TIMES = {1: 2.0, 2: 4.0, 3: 8.0}
"""The same for the time turns take once in, in turn targets. It never reaches 4: then nothing would measure the engine."""


@dataclass
class Ladder:
    """One level with hysteresis. `hear` values as they come; `level` catches up with the time that passed without any."""

    thresholds: dict[int, float]
    now_s: float
    level_now: int = 0
    _least: float | None = None
    _calm_since_s: float | None = None
    _interval_began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._interval_began_s = self.now_s

    def hear(self, value: float, now_s: float) -> None:
        self.level(now_s)
        self._least = value if self._least is None else min(self._least, value)

    def level(self, now_s: float) -> int:
        while now_s - self._interval_began_s >= INTERVAL_S:
            self._interval_began_s += INTERVAL_S
            self._step(self._least or 0.0)
            self._least = None
            if not self.level_now:  # intervals in which nothing came change nothing any more
                self._interval_began_s += (now_s - self._interval_began_s) // INTERVAL_S * INTERVAL_S
        return self.level_now

    def _step(self, value: float) -> None:
        above = self.thresholds.get(self.level_now + 1)
        if above is not None and value >= above:
            self.level_now, self._calm_since_s = self.level_now + 1, None
        elif self.level_now and value < CALM_BELOW * self.thresholds[self.level_now]:
            if self._calm_since_s is None:
                self._calm_since_s = self._interval_began_s - INTERVAL_S
            if self._interval_began_s - self._calm_since_s >= CALM_S:
                self.level_now, self._calm_since_s = self.level_now - 1, None
        else:
            self._calm_since_s = None


class BrownOut(Listener):
    """Implements `agents.ports.Pressure`; listens to the gate."""

    def __init__(self, monotonic: Callable[[], float], breaker: Breaker, *, queue_target_s: float) -> None:
        self._monotonic, self._breaker, self._queue_target_s = monotonic, breaker, queue_target_s
        self._engine = Ladder(SLOW_TIMES, monotonic())
        self._tenants: dict[str, tuple[float, Ladder]] = {}

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        return Allowance(self.level(tenant), deadline_s)

    def level(self, tenant: str) -> Brownout:
        now = self._monotonic()
        known = self._tenants.get(tenant)
        return Brownout(max(known[1].level(now) if known else 0, self._engine.level(now), self._breaker.level()))

    def highest(self) -> Brownout:
        """The level of the tenant that is worst off: for metrics."""
        return max((self.level(tenant) for tenant in self._tenants), default=self.level(""))

    def let_in(self, place: Place, waited_s: float) -> None:
        self._waited(place.ticket.tenant, waited_s)

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        if reason is not Reason.RATE:  # a tenant beyond its own limit presses on nobody
            self._waited(place.ticket.tenant, wait_s)

    def left(self, place: Place, slowness: float | None) -> None:
        if slowness is not None:
            self._engine.hear(slowness, self._monotonic())

    def _waited(self, tenant: str, waited_s: float) -> None:
        now = self._monotonic()
        _, ladder = self._tenants.get(tenant) or (now, Ladder(WAIT_TIMES, now))
        ladder.hear(waited_s / self._queue_target_s, now)
        self._tenants[tenant] = (now, ladder)
        if len(self._tenants) > 1:
            for name in [name for name, (seen_s, _) in self._tenants.items() if now - seen_s > FORGOTTEN_S]:
                del self._tenants[name]
