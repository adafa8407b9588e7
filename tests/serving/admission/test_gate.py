"""The gate under a clock that is moved: room, queue, deadlines, refusals.

Long: its cases share one bench and its clock.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.domain.errors import Overloaded
from serving.admission.gate import RETRY_AFTER_S, Gate, GateLimits
from serving.admission.place import Listener, Place, Reason, State
from serving.admission.tickets import Limits, Priority, Ticket
from tests.fakes import SetClock

SERVICE_S = 2.0


@dataclass
class Heard(Listener):
    refusals: list[Reason] = field(default_factory=list)

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        self.refusals.append(reason)


@dataclass
class Bench:
    """A gate whose engine serves `size` turns at once, each in SERVICE_S."""

    size: int = 4
    queued: int = 100
    clock: SetClock = field(default_factory=SetClock)
    heard: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        limits = GateLimits(2 * SERVICE_S, self.queued, in_flight_first=self.size, in_flight_most=self.size)
        self.gate = Gate(limits, self.clock.monotonic, self.heard)

    def taught(self) -> "Bench":
        """The gate knows how long turns take and what they cost."""
        places = [self.gate.offer(Ticket("teacher")) for _ in range(self.size)]
        self.clock.move(SERVICE_S)
        self.leave(places)
        return self

    def leave(self, places: Sequence[Place], tokens: float = 100.0) -> None:
        for place in places:
            self.gate.leave(place, tokens)

    def fill(self, tenant: str = "other") -> list[Place]:
        return [self.gate.offer(Ticket(tenant)) for _ in range(self.size)]


def test_while_there_is_room_work_goes_in_at_once() -> None:
    bench = Bench()
    places = bench.fill()
    assert {place.state for place in places} == {State.IN}
    assert bench.gate.in_flight == 4
    assert bench.gate.offer(Ticket("x")).state is State.WAITING


def test_it_tells_whether_there_is_room_without_taking_it() -> None:
    bench = Bench(size=2)
    assert [bench.gate.has_room(Ticket("a", deadline_s=10)) for _ in range(5)] == [True] * 5
    bench.gate.offer(Ticket("a", deadline_s=10))
    bounded = Ticket("a", deadline_s=10, limits=Limits(turns_in_flight=1))
    assert not bench.gate.has_room(bounded)
    bench.gate.offer(Ticket("a", deadline_s=10))
    assert not bench.gate.has_room(Ticket("a", deadline_s=10))
    assert bench.gate.in_flight == 2


def test_who_leaves_lets_the_next_in_and_wakes_it() -> None:
    bench, woken = Bench(), []
    inside = bench.fill()
    waiting = bench.gate.offer(Ticket("x"), lambda: woken.append(1))
    bench.leave(inside[:1])
    assert (waiting.state, woken) == (State.IN, [1])


def test_work_that_cannot_be_in_time_is_refused_before_it_waits() -> None:
    bench = Bench().taught()
    bench.fill()
    queued = [bench.gate.offer(Ticket("x", deadline_s=60)) for _ in range(40)]  # ten services long
    with pytest.raises(Overloaded) as refused:
        bench.gate.offer(Ticket("x", deadline_s=10))
    assert all(place.state is State.WAITING for place in queued)
    assert bench.heard.refusals == [Reason.DEADLINE]
    # 41 turns at 4 every 2 s, and its own 2 s, are 12.5 s more than it has
    assert refused.value.retry_after_s == pytest.approx(41 * 0.5 + SERVICE_S - 10)


def test_another_tenant_is_not_refused_for_that_flood() -> None:
    bench = Bench().taught()
    bench.fill()
    for _ in range(40):
        bench.gate.offer(Ticket("flood", deadline_s=60))
    assert bench.gate.offer(Ticket("quiet", deadline_s=10)).state is State.WAITING


def test_work_that_came_too_late_while_waiting_is_not_begun() -> None:
    bench = Bench().taught()
    inside = bench.fill()
    waiting = bench.gate.offer(Ticket("x", deadline_s=4.5))
    bench.clock.move(3.0)  # with 2 s of service it would end after 5
    bench.leave(inside)
    assert waiting.state is State.REFUSED
    assert waiting.refusal is not None


def test_a_place_whose_time_is_up_is_refused() -> None:
    bench = Bench()
    bench.fill()
    waiting = bench.gate.offer(Ticket("x", deadline_s=5))
    bench.gate.expire(waiting)
    assert waiting.state is State.REFUSED


def test_a_full_queue_takes_a_quiet_tenant_and_drops_from_the_loud_one() -> None:
    bench = Bench(queued=10)
    bench.fill()
    flood = [bench.gate.offer(Ticket("flood")) for _ in range(10)]
    quiet = bench.gate.offer(Ticket("quiet"))
    assert (quiet.state, flood[-1].state) == (State.WAITING, State.REFUSED)
    with pytest.raises(Overloaded):
        bench.gate.offer(Ticket("flood"))


def test_a_place_that_is_given_up_goes_to_nobody_and_costs_nothing() -> None:
    bench = Bench()
    inside = bench.fill()
    first, second = bench.gate.offer(Ticket("x")), bench.gate.offer(Ticket("x"))
    bench.gate.leave(first, 0.0)
    bench.leave(inside[:1])
    assert (first.state, second.state, bench.gate.in_flight) == (State.GONE, State.IN, 4)


def test_leaving_twice_is_leaving_once() -> None:
    bench = Bench()
    inside = bench.fill()
    bench.gate.leave(inside[0], 1.0)
    bench.gate.leave(inside[0], 1.0)
    assert bench.gate.in_flight == 3


def test_a_tenants_own_bound_holds_while_there_is_room() -> None:
    bench = Bench(size=8)
    mine = [bench.gate.offer(Ticket("x", limits=Limits(turns_in_flight=2))) for _ in range(3)]
    assert [place.state for place in mine] == [State.IN, State.IN, State.WAITING]
    bench.leave(mine[:1])
    assert mine[2].state is State.IN


def test_replicas_divide_a_tenants_bound() -> None:
    bench = Bench(size=8)
    bench.gate.accounts.take_share(1 / 2)
    mine = [bench.gate.offer(Ticket("x", limits=Limits(turns_in_flight=4))) for _ in range(3)]
    assert [place.state for place in mine] == [State.IN, State.IN, State.WAITING]


def test_tokens_a_minute_that_are_used_up_come_back_with_time() -> None:
    bench, limits = Bench(size=8), Limits(tokens_per_minute=600)
    bench.leave([bench.gate.offer(Ticket("x", tokens=300, limits=limits))], tokens=500)
    with pytest.raises(Overloaded) as refused:
        bench.gate.offer(Ticket("x", tokens=300, limits=limits))
    assert refused.value.retry_after_s == pytest.approx(20)  # 200 tokens too many, 10 a second
    assert bench.heard.refusals == [Reason.RATE]
    bench.clock.move(20)
    assert bench.gate.offer(Ticket("x", tokens=300, limits=limits)).state is State.IN


def test_batch_work_leaves_room_for_customers() -> None:
    bench = Bench(size=8)
    batch = [bench.gate.offer(Ticket("b", Priority.BATCH)) for _ in range(8)]
    assert sum(place.state is State.IN for place in batch) == 4
    assert all(bench.gate.offer(Ticket("c")).state is State.IN for _ in range(4))


def test_a_tenant_above_its_part_leaves_headroom_while_others_are_about() -> None:
    bench = Bench(size=20)
    for number in range(3):
        bench.gate.leave(bench.gate.offer(Ticket(f"quiet{number}")), 100.0)
    flood = [bench.gate.offer(Ticket("flood")) for _ in range(20)]
    assert sum(place.state is State.IN for place in flood) == 16
    assert all(bench.gate.offer(Ticket(f"quiet{number % 3}")).state is State.IN for number in range(4))


def test_a_busy_engine_in_time_holds_back_the_flood_and_nobody_else() -> None:
    """Turns beside many others take 1.2 s, three times as long as alone, and less than their target of 2 s."""
    clock = SetClock()
    gate, inside = Gate(GateLimits(target_s=2.0), clock.monotonic), list[Place]()

    def second(tenants: Sequence[str], takes_s: float) -> None:
        inside.extend(gate.offer(Ticket(tenant)) for tenant in tenants)
        clock.move(takes_s)
        for place in inside:
            gate.leave(place, 100.0)
        inside.clear()

    for _ in range(40):
        second(["t0"], 0.4)
    others = [f"t{number}" for number in range(1, 10)]
    for _ in range(60):
        second([*others, *others, "flood", *["flood"] * 12], 1.2)
    assert gate.apart.limit < 18 < gate.limiter.limit
    assert {gate.offer(Ticket(tenant)).state for tenant in [*others, *others]} == {State.IN}
    assert [gate.offer(Ticket("flood")).state for _ in range(2)] == [State.IN, State.WAITING]
    assert gate.offer(Ticket("t1")).state is State.IN


def shared(size: int, most: int) -> Gate:
    """Nine tenants who took a turn each, and one who took thirty and has as many in flight as it may."""
    gate = Gate(GateLimits(4.0, in_flight_first=size, in_flight_most=most), SetClock().monotonic)
    for tenant in [f"quiet{number}" for number in range(9)] + ["flood"] * 30:
        gate.leave(gate.offer(Ticket(tenant)), 100.0)
    for _ in range(size):
        gate.offer(Ticket("flood"))
    return gate


def test_who_used_little_goes_beyond_the_learned_limit_and_never_beyond_the_set_one() -> None:
    gate = shared(10, most=11)
    assert gate.in_flight == 8
    states = [gate.offer(Ticket(f"quiet{number}")).state for number in range(1, 6)]
    assert states == [*[State.IN] * 3, *[State.WAITING] * 2]
    assert gate.in_flight == 11


def test_a_clump_of_a_tenant_that_used_little_is_no_flood() -> None:
    gate = shared(10, most=10)
    assert [gate.offer(Ticket("quiet3")).state for _ in range(2)] == [State.IN] * 2


def test_a_tenant_alone_may_use_everything() -> None:
    bench = Bench(size=20)
    assert {bench.gate.offer(Ticket("only")).state for _ in range(20)} == {State.IN}


@pytest.mark.parametrize("learns", [True, False])
def test_where_each_is_as_long_as_its_client_wishes_slow_work_lowers_no_bound(learns: bool) -> None:
    clock = SetClock()
    gate = Gate(GateLimits(600.0, in_flight_first=128.0, in_flight_most=128.0, learns=learns), clock.monotonic)

    def round_of(count: int, tokens: float, takes_s: float) -> int:
        """How many of `count` were in before any of them had ended."""
        places = [gate.offer(Ticket("client", tokens=tokens, deadline_s=600.0)) for _ in range(count)]
        inside = gate.in_flight
        clock.move(takes_s)
        for place in places:
            gate.leave(place, tokens)
        return inside

    for _ in range(20):
        round_of(1, tokens=10.0, takes_s=0.2)
    inside = [round_of(64, tokens=640.0, takes_s=60.0) for _ in range(8)]
    assert (inside == [64] * 8) is not learns


def test_work_of_unknown_cost_is_charged_its_estimate_and_teaches_nothing() -> None:
    bench = Bench()
    bench.leave(bench.fill(), tokens=100.0)
    usual = bench.gate.pace.tokens
    place = bench.gate.offer(Ticket("x", tokens=9000))
    bench.clock.move(50)
    bench.gate.leave(place, None)
    assert bench.gate.pace.tokens == usual


Step = tuple[str, Priority, float, float]
steps = st.lists(
    st.tuples(st.sampled_from(("a", "b", "c")), st.sampled_from(list(Priority)), st.floats(0.5, 40.0), st.floats(0.0, 1.0)),
    max_size=150,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_the_bounds_hold_and_every_refusal_says_a_sane_time(work: list[Step]) -> None:
    bench = Bench(size=5, queued=12).taught()
    places, told = list[Place](), list[float]()
    for tenant, priority, deadline_s, gap_s in work:
        bench.clock.move(gap_s)
        for place in [each for each in places if each.state is State.IN]:
            if bench.clock.monotonic() - place.admitted_s >= SERVICE_S:
                bench.gate.leave(place, 80.0)
        ticket = Ticket(tenant, priority, deadline_s=deadline_s)
        roomy = bench.gate.has_room(ticket)
        try:
            places.append(bench.gate.offer(ticket))
            assert not roomy or places[-1].state is State.IN
        except Overloaded as refused:
            told.append(refused.retry_after_s)
            assert not roomy
        assert bench.gate.in_flight <= 5
        assert sum(bench.gate.waiting(each) for each in Priority) <= 12
        assert bench.gate.in_flight == sum(place.state is State.IN for place in places)
    for _ in range(200):  # with time everything that waits is let in or refused, none is forgotten
        bench.clock.move(SERVICE_S)
        bench.leave([place for place in places if place.state is State.IN])
    assert all(RETRY_AFTER_S[0] <= seconds <= RETRY_AFTER_S[1] for seconds in told)
    assert not [place for place in places if place.state in (State.WAITING, State.IN)]
    assert bench.gate.tokens_in_flight == 0.0


def waits_p99_s(flood: bool) -> float:
    """Ten tenants at 80 % of a tenth of the engine each, for ten minutes; with `flood` one of them at ten times its tenth. How
    long the other nine wait."""
    bench, rng = Bench(size=20, queued=200).taught(), random.Random(7)
    rates = {f"t{number}": 0.8 * bench.size / SERVICE_S / 10 for number in range(10)}
    if flood:
        rates["t0"] = bench.size / SERVICE_S
    began = bench.clock.monotonic()
    arrivals = sorted((began + at, tenant) for tenant, rate in rates.items() for at in poisson(rng, rate, 600))
    places, ends, admitted = list[Place](), list[tuple[float, int]](), 0
    for at, tenant in [*arrivals, (began + 700, "")]:
        while ends and ends[0][0] <= at:
            end, number = heapq.heappop(ends)
            bench.clock.move(end - bench.clock.monotonic())
            bench.gate.leave(places[number], 100.0)
            admitted = started(places, admitted, ends, rng)
        bench.clock.move(at - bench.clock.monotonic())
        if tenant:
            try:
                places.append(bench.gate.offer(Ticket(tenant, deadline_s=10)))
            except Overloaded:
                assert tenant == "t0"
        admitted = started(places, admitted, ends, rng)
    waits = sorted(place.admitted_s - place.offered_s for place in places if place.ticket.tenant != "t0")
    return waits[int(len(waits) * 0.99)]


def poisson(rng: random.Random, rate: float, seconds: float) -> Iterator[float]:
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


def started(places: Sequence[Place], known: int, ends: list[tuple[float, int]], rng: random.Random) -> int:
    """Set an end for every place let in since; how many places have one."""
    running = {number for _, number in ends}
    for number in range(max(0, len(places) - 300), len(places)):
        if places[number].state is State.IN and number not in running:
            heapq.heappush(ends, (places[number].admitted_s + SERVICE_S * rng.uniform(0.5, 1.5), number))
    return known


def test_a_flood_at_ten_times_its_share_adds_little_to_the_others_waits() -> None:
    alone, flooded = waits_p99_s(flood=False), waits_p99_s(flood=True)
    assert flooded <= alone + 0.5 * SERVICE_S
