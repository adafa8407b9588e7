"""Gate, limiter and brown-out together, in virtual time: what an overload leaves behind goes away by itself."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from agents.domain.brownout import Brownout
from agents.domain.errors import Overloaded
from serving.admission.breaker import Breaker
from serving.admission.gate import Gate, GateLimits
from serving.admission.place import Place, State
from serving.admission.pressure import BrownOut
from serving.admission.tickets import Ticket
from tests.fakes import SetClock

TENANT, DEADLINE_S = "shop", 30.0
ALONE_S, MOST_PER_S = 0.08, 43.0  # a turn alone, and how many a second all together can be


@dataclass
class Desk:
    """Turns share the desk's cores; from WORDING on they ask no model."""

    clock: SetClock = field(default_factory=SetClock)

    def __post_init__(self) -> None:
        self.brown_out = BrownOut(self.clock.monotonic, Breaker(self.clock.monotonic), queue_target_s=0.5)
        self.gate = Gate(GateLimits(target_s=2.0), self.clock.monotonic, self.brown_out)
        self.running: list[tuple[float, int, Place, Brownout]] = []
        self.ended = 0
        self._numbers, self._offered = count(), list[Place]()

    def offer(self) -> None:
        try:
            self._offered.append(self.gate.offer(Ticket(TENANT, deadline_s=DEADLINE_S)))
        except Overloaded:
            return
        self.begin()

    def begin(self) -> None:
        """A turn for everything that was let in since."""
        waiting = list[Place]()
        for place in self._offered:
            if place.state is State.WAITING:
                waiting.append(place)
            elif place.state is State.IN:
                takes_s = max(ALONE_S, self.gate.in_flight / MOST_PER_S)
                ends_s = self.clock.monotonic() + takes_s
                heapq.heappush(self.running, (ends_s, next(self._numbers), place, self.brown_out.level(TENANT)))
        self._offered = waiting

    def until(self, at_s: float) -> None:
        while self.running and self.running[0][0] <= at_s:
            ends_s, _, place, level = heapq.heappop(self.running)
            self.clock.move(ends_s - self.clock.monotonic())
            self.gate.leave(place, 0.0 if level >= Brownout.WORDING else 100.0, level)
            self.ended += 1
            self.begin()
        self.clock.move(at_s - self.clock.monotonic())

    def hold(self, rate_per_s: float, seconds: float, rng: random.Random) -> None:
        """Customers come at random for a while."""
        for at_s in list(arrivals(self.clock.monotonic(), rate_per_s, seconds, rng)):
            self.until(at_s)
            self.offer()


def arrivals(now_s: float, rate_per_s: float, seconds: float, rng: random.Random) -> Iterator[float]:
    at_s = now_s
    while (at_s := at_s + rng.expovariate(rate_per_s)) < now_s + seconds:
        yield at_s


def test_a_desk_that_lets_in_too_few_comes_back_though_no_turn_reaches_the_model() -> None:
    desk, rng = Desk(), random.Random(1)
    desk.hold(20.0, 30.0, rng)
    desk.gate.limiter.limit = desk.gate.limiter.lowest  # what a slow minute leaves
    for _ in range(400):
        desk.offer()
    assert desk.brown_out.level(TENANT) is not Brownout.HANDOFF
    desk.hold(37.0, 60.0, rng)
    before = desk.ended
    desk.hold(37.0, 120.0, rng)
    assert (desk.ended - before) / 120.0 > 35.0
    assert desk.gate.limiter.limit > 10
    assert desk.brown_out.level(TENANT) is Brownout.NORMAL
