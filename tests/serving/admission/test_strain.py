"""A flood that costs the engine nothing, at a desk whose own processor is what is short. In virtual time."""

import heapq
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

import pytest

from agents.domain.brownout import Brownout
from agents.domain.errors import Overloaded
from bench.result import quantile
from serving.admission.gate import Gate, GateLimits
from serving.admission.place import Listener, Place, Reason, State
from serving.admission.strain import DOUBLED_S, FREE, LATE_S, PUNCTUAL_S, Strain
from serving.admission.tickets import Ticket
from tests.fakes import SetClock

EVERY_S, SECONDS = 0.05, 120.0  # the sleeper, and how long customers come
WORK_S, ENGINE_S = 0.01, 0.5  # a turn's time on the desk's processor, twice, and between them with the engine
FLOOD, OTHERS = "flood", tuple(f"t{number}" for number in range(9))
CALM = dict.fromkeys(OTHERS, 2.5)  # turns a second; together 45 % of what the processor can do
FLOODED = CALM | {FLOOD: 60.0}


@dataclass
class Desk(Listener):
    """One processor, first come first served. The flood's turns are cut down: they ask no engine."""

    strained: bool = True
    clock: SetClock = field(default_factory=SetClock)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    refused_for: list[Reason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = Gate(GateLimits(target_s=2.0), self.clock.monotonic, self)
        self._free_s, self._numbers = 0.0, count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        self.refused_for.append(reason)

    def let_in(self, place: Place, waited_s: float) -> None:
        cut = place.ticket.tenant == FLOOD
        self._work(lambda: self._at(0.0 if cut else ENGINE_S, lambda: self._work(lambda: self._end(place, cut))))

    def _end(self, place: Place, cut: bool) -> None:
        self.took_s.setdefault(place.ticket.tenant, []).append(self.clock.monotonic() - place.offered_s)
        self.gate.leave(place, 0.0 if cut else 100.0, Brownout.WORDING if cut else Brownout.NORMAL)

    def _work(self, then: Callable[[], None]) -> None:
        self._free_s = max(self._free_s, self.clock.monotonic()) + WORK_S
        self._at(self._free_s - self.clock.monotonic(), then)

    def _at(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.clock.monotonic() + seconds, next(self._numbers), do))

    def _offer(self, tenant: str) -> None:
        try:
            place = self.gate.offer(Ticket(tenant, deadline_s=30.0))
        except Overloaded:
            return
        if place.state is State.WAITING:
            self._at(30.0, lambda: self.gate.expire(place))

    def _ask(self) -> None:
        lag_s = max(0.0, self._free_s - self.clock.monotonic())
        if self.strained:
            self._at(lag_s, lambda: self.gate.lagged(lag_s))
        self._at(lag_s + EVERY_S, self._ask)

    def hold(self, rates: Mapping[str, float], seconds: float, rng: random.Random) -> None:
        """Customers come at random, and all that comes of it until then."""
        end_s = self.clock.monotonic() + seconds
        for tenant, rate in rates.items():
            at_s = rng.expovariate(rate)
            while at_s < seconds:
                self._at(at_s, lambda tenant=tenant: self._offer(tenant))  # type: ignore[misc]
                at_s += rng.expovariate(rate)
        self._ask()
        while self._due and self._due[0][0] <= end_s:
            at_s, _, do = heapq.heappop(self._due)
            self.clock.move(at_s - self.clock.monotonic())
            do()

    def others_p99_s(self) -> float:
        """From when they came."""
        return quantile([took_s for tenant in OTHERS for took_s in self.took_s[tenant]], 0.99)


def after(rates: Mapping[str, float], *, strained: bool = True) -> Desk:
    desk = Desk(strained)
    desk.hold(rates, SECONDS, random.Random(7))
    return desk


def test_a_flood_of_cut_down_turns_does_not_take_the_others_processor() -> None:
    calm, blind, seeing = after(CALM), after(FLOODED, strained=False), after(FLOODED)
    assert blind.others_p99_s() > 1.5 * calm.others_p99_s()  # this is what it is for
    assert seeing.others_p99_s() < 1.1 * calm.others_p99_s()
    assert len(seeing.took_s[FLOOD]) / SECONDS > 5.0  # the flood still gets more than any other
    assert set(seeing.refused_for) <= {Reason.DEADLINE, Reason.FULL}
    assert sum(map(len, (seeing.took_s[tenant] for tenant in OTHERS))) >= sum(CALM.values()) * SECONDS * 0.9


def test_a_tenant_that_is_alone_may_use_all_of_it() -> None:
    rates = {FLOOD: 60.0}
    blind, seeing = after(rates, strained=False), after(rates)
    assert seeing.gate.strain.holds
    assert len(seeing.took_s[FLOOD]) == pytest.approx(len(blind.took_s[FLOOD]), rel=0.02)


def test_what_is_held_back_is_let_in_as_time_is_found() -> None:
    clock = SetClock()
    gate = Gate(GateLimits(in_flight_first=100.0), clock.monotonic)
    for number in range(30):
        gate.offer(Ticket(FLOOD if number % 3 else f"t{number}"))
    for _ in range(40):
        clock.move(EVERY_S)
        gate.lagged(10 * LATE_S)
    held, other = gate.offer(Ticket(FLOOD)), gate.offer(Ticket("t0"))
    assert (held.state, other.state) == (State.WAITING, State.IN)
    second = gate.offer(Ticket(FLOOD))
    gate.lagged(0.0)
    assert (held.state, second.state) == (State.IN, State.WAITING)
    gate.lagged(2 * PUNCTUAL_S)
    assert second.state is State.WAITING
    gate.lagged(0.0)
    assert second.state is State.IN  # type: ignore[comparison-overlap]


def test_a_tenant_held_back_is_told_early_that_it_would_come_too_late() -> None:
    clock = SetClock()
    gate = Gate(GateLimits(in_flight_first=500.0), clock.monotonic)
    for number in range(100):
        clock.move(0.1)
        gate.offer(Ticket(FLOOD if number % 2 else f"t{number}"))
    for _ in range(40):
        clock.move(EVERY_S)
        gate.lagged(10 * LATE_S)
    rate = gate.accounts.turns_per_s(FLOOD, clock.monotonic())
    for _ in range(math.floor(20.0 * rate)):
        assert gate.offer(Ticket(FLOOD, deadline_s=20.0)).state is State.WAITING
    with pytest.raises(Overloaded) as refused:
        gate.offer(Ticket(FLOOD, deadline_s=20.0))
    assert gate.waiting(Ticket(FLOOD).priority) == pytest.approx(20.0 * rate, abs=1.0)
    assert refused.value.retry_after_s == pytest.approx(1 / rate, abs=1.0)


def strained() -> Strain:
    strain = Strain()
    for step in range(41):
        strain.hear(LATE_S * 2, step * EVERY_S)
    return strain


def test_one_late_moment_is_no_strain() -> None:
    strain = Strain()
    for step in range(40):
        strain.hear(0.0, step * EVERY_S)
    strain.hear(0.3, 40 * EVERY_S + 0.3)
    assert not strain.holds


def test_a_loop_that_is_late_on_average_holds_and_a_punctual_moment_allows_one() -> None:
    strain = strained()
    assert strain.holds
    assert strain.spent
    strain.hear(0.0, 41 * EVERY_S)
    assert not strain.spent
    strain.take()
    assert strain.spent


def test_what_is_allowed_grows_until_nobody_is_held() -> None:
    strain, doublings = strained(), math.log2(FREE)
    step = 41
    while strain.holds:
        strain.hear(0.0, (step := step + 1) * EVERY_S)
    assert step * EVERY_S == pytest.approx(41 * EVERY_S + DOUBLED_S * doublings, rel=0.05)
    assert not strain.spent
