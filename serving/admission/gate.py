"""The gate: lets work in while there is room, queues it fairly while there is not, refuses what would come too late.

Synchronous bookkeeping on one thread; `admission.py` waits on it. Nothing here sleeps: time comes from the clock it is given.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from agents.domain.brownout import Brownout
from agents.domain.errors import Overloaded
from serving.admission.fair_queue import Entry, FairQueue
from serving.admission.limiter import QUICK, Limiter
from serving.admission.pace import Pace
from serving.admission.place import Listener, Place, Reason, State
from serving.admission.quota import Accounts
from serving.admission.strain import Strain
from serving.admission.tickets import Priority, Ticket

CEILING = {Priority.CUSTOMER: 1.0, Priority.OPERATOR: 0.9, Priority.BATCH: 0.5}
"""The part of the budget a class may hold: what is in flight is not taken back, so a burst of customers must find room."""
HEADROOM = 0.2
"""The part of their room kept free of tenants far above their fair part, while others are about: those find room at once. The
trunk reservation of telephone networks (Akinpelu 1984). By as much may a tenant within its part go beyond the budget. Both keep
one tenant's flood out of the others' p99."""
FAR_ABOVE = 2.0  # times its fair part, of what is in flight or was let in lately: a tenant that comes in bursts is no flood yet
CLUMP = 3.0
"""Turns that a fair part counts for at least: where many tenants share a small budget, two turns that happen to come together
are no flood."""
TOKEN_SLACK = 1.5  # tokens in flight, against the limit's turns of the usual size: uneven work must still fill the engine
CREDIT_TURNS = 16.0
"""How many turns of the usual size a tenant that used less than its share may go ahead of the others when it comes at once."""
HALF_EMPTY = 0.5
RETRY_AFTER_S = (1.0, 120.0)


@dataclass(frozen=True, slots=True)
class GateLimits:
    """`target_s`: what a turn of the usual size should take once it is in. `queued`: how many may wait in all. `learns`: the
    bound on what is in flight, in turns and in tokens, follows how long turns take. That needs turns that are alike; where
    each is as long as its client wishes, its time says nothing, and the bound is `in_flight_first` turns."""

    target_s: float = 2.0
    queued: int = 512
    in_flight_first: float = 32.0
    in_flight_most: float = 512.0
    learns: bool = True


class Gate:
    def __init__(self, limits: GateLimits, monotonic: Callable[[], float], *listeners: Listener) -> None:
        self._limits, self._monotonic, self.listeners = limits, monotonic, list(listeners)
        first, most = min(limits.in_flight_first, limits.in_flight_most), limits.in_flight_most
        self.limiter, self.apart = Limiter(first, highest=most), Limiter(first, highest=most, bearable=QUICK)
        self.pace, self.accounts, self.strain = Pace(), Accounts(), Strain()
        self._queue: FairQueue[Place] = FairQueue()
        self._in_flight: Counter[Priority] = Counter()
        self._tokens_in_flight = 0.0

    @property
    def in_flight(self) -> int:
        return self._in_flight.total()

    @property
    def tokens_in_flight(self) -> float:
        return self._tokens_in_flight

    @property
    def token_budget(self) -> float:
        """Tokens that may be in flight; boundless until a turn has told what turns cost, and where nothing is learned."""
        known = self._limits.learns and self.pace.service_s(self._monotonic()) is not None
        return self.limiter.limit * self.pace.tokens * TOKEN_SLACK if known else math.inf

    def drain_tokens_per_s(self) -> float:
        """What leaves while the budget is full; 0 while that is not known."""
        return self.pace.tokens_per_s(self.limiter.limit, self._monotonic()) or 0.0

    def waiting(self, priority: Priority) -> int:
        return self._queue.waiting(priority)

    def offer(self, ticket: Ticket, wake: Callable[[], None] = lambda: None) -> Place:
        """A place for `ticket`: in, or waiting. Raises Overloaded with the seconds after which it would be let in."""
        now, tokens = self._monotonic(), ticket.tokens or self.pace.tokens
        place = Place(ticket, tokens, now, wake)
        self.accounts.seen(ticket.tenant, ticket.limits.weight, now)
        if (dry_s := self.accounts.dry_s(ticket.tenant, ticket.limits, tokens, now)) > 0:
            raise self._refuse(place, Reason.RATE, dry_s, dry_s)
        ahead = self._queue.queued(ticket.priority, ticket.tenant)[0]
        if ahead or not self._may(place):
            place.queued = True
            wait_s, service_s = self.expected_wait_s(ticket, tokens), self._believed_s(place, now)
            if wait_s + service_s > ticket.deadline_s:
                raise self._refuse(place, Reason.DEADLINE, wait_s, wait_s + service_s - ticket.deadline_s)
            if len(self._queue) >= self._limits.queued:
                self._make_room(place, wait_s)
        self._queue.push(place.entry)
        self._pump()
        return place

    def has_room(self, ticket: Ticket) -> bool:
        """Whether `offer` would let `ticket` in at once."""
        now, tokens = self._monotonic(), ticket.tokens or self.pace.tokens
        self.accounts.seen(ticket.tenant, ticket.limits.weight, now)
        if len(self._queue) or self.accounts.dry_s(ticket.tenant, ticket.limits, tokens, now) > 0:
            return False
        return self.in_flight + 1 <= self._furthest() and self._may(Place(ticket, tokens, now, lambda: None))

    def expected_wait_s(self, ticket: Ticket, tokens: float) -> float:
        """How long `ticket` would wait at the present drain rate: for its tenant's own part of it, or for all of the queue
        when that is shorter. 0 while no rate is known. Where it is held back for the desk's processor, its tenant's own pace of
        late counts."""
        now = self._monotonic()
        rate = self.pace.tokens_per_s(min(self.limiter.limit, max(self.in_flight, 1)), now)
        turns, own = self._queue.queued(ticket.priority, ticket.tenant)
        held_s = (turns + 1) / self.accounts.turns_per_s(ticket.tenant, now) if self._held_back(ticket, now) else 0.0
        if rate is None:
            return held_s
        share = self._queue.share(ticket.priority, ticket.tenant, ticket.limits.weight)
        fair_s = min((own + tokens) / (rate * share), (self._queue.tokens + tokens) / rate)
        bound = self.accounts.most_in_flight(ticket.limits)  # a tenant's own bound makes it slower still
        beyond = turns + 1 + self.accounts.of(ticket.tenant).in_flight - bound
        return max(fair_s, held_s, beyond / bound * (self.pace.service_s(now) or 0.0))

    def leave(self, place: Place, tokens: float | None, level: Brownout = Brownout.NORMAL) -> None:
        """Work that was in has ended, having cost `tokens`; None when that is not known. `level`: what brown-out left of it.
        Also takes a waiting place."""
        if place.state is State.WAITING:
            self._queue.remove(place.entry)
            place.state = State.GONE
            self._pump()
            return
        if place.state is not State.IN:
            return
        place.state, now, ticket = State.GONE, self._monotonic(), place.ticket
        self._in_flight[ticket.priority] -= 1
        self._tokens_in_flight = self._tokens_in_flight - place.tokens if self.in_flight else 0.0
        self.accounts.of(ticket.tenant).in_flight -= 1
        slowness = None
        if tokens is not None:
            self._queue.charge(place.entry, tokens)
            self.accounts.spend(ticket.tenant, ticket.limits, tokens - place.tokens, now)
            if tokens > 0:  # what never used the engine says nothing about it
                service_s = now - place.admitted_s
                slowness = service_s / self._target_s(ticket, tokens)
                self.pace.ended(service_s, tokens, now, whole=level < Brownout.ONE_CALL)
                self._queue.credit_tokens = CREDIT_TURNS * self.pace.tokens
            if self._limits.learns and (tokens > 0 or level >= Brownout.ONE_CALL):
                for limiter in (self.limiter, self.apart):
                    limiter.sample(slowness, place.beside, now, level)
        for listener in self.listeners:
            listener.left(place, slowness)
        self.accounts.forget_idle(now)
        self._pump()

    def expire(self, place: Place) -> None:
        """A waiting place whose time is up is refused."""
        if place.state is State.WAITING:
            self._queue.remove(place.entry)
            self._turn_away(place, Reason.DEADLINE)
            self._pump()

    def lagged(self, lag_s: float) -> None:
        """The event loop woke a sleeper so late: told often, as long as the desk stands."""
        self.strain.hear(lag_s, self._monotonic())
        self._pump()

    def oldest_wait_s(self, tenant: str) -> float:
        """How long the tenant's oldest waiting customer has waited."""
        now = self._monotonic()
        waits = (now - entry.item.offered_s for entry in self._queue if entry.tenant == tenant)
        return max(waits, default=0.0)

    def _target_s(self, ticket: Ticket, tokens: float) -> float:
        """Longer work may take longer in proportion, unless the ticket says how long."""
        return ticket.target_s or self._limits.target_s * max(1.0, tokens / self.pace.tokens)

    def _pump(self) -> None:
        while len(self._queue) and self.in_flight + 1 <= self._furthest() and (entry := self._queue.pop(self._may)) is not None:
            place, now = entry.item, self._monotonic()
            if place.queued and now + self._believed_s(place, now) > place.due_s:
                self._queue.charge(entry, 0.0)
                self._turn_away(place, Reason.DEADLINE)
                continue
            self._let_in(place, now)

    def _believed_s(self, place: Place, now: float) -> float:
        """How long it will take once in. An engine that is half empty is not believed to be as slow as it was: where nobody is
        let in, nothing is learned."""
        if self.in_flight < HALF_EMPTY * self.limiter.limit:
            return 0.0
        return self.pace.service_s(now, place.ticket.tokens) or 0.0

    def _may(self, place: Place) -> bool:
        """Whether there is room for it: in the budget, in its class, and in its tenant's own bound."""
        if not self.in_flight:
            return True
        ticket, limit = place.ticket, self.limiter.limit
        mine = self.accounts.of(ticket.tenant).in_flight + 1
        if mine > self.accounts.most_in_flight(ticket.limits):
            return False
        reach = self._reach(place, mine)
        beyond = max(1.0, reach / limit)
        if self.in_flight + 1 > reach or self._tokens_in_flight + place.tokens > beyond * self.token_budget:
            return False
        held = self._in_flight[ticket.priority]
        if held and held + 1 > CEILING[ticket.priority] * beyond * limit:
            return False
        return not (self.strain.spent and self._held_back(ticket, self._monotonic()))

    def _held_back(self, ticket: Ticket, now: float) -> bool:
        """Whether it only goes in as the desk's own processor finds the time."""
        return self.strain.holds and self.accounts.floods(ticket.tenant, FAR_ABOVE, now)

    def _reach(self, place: Place, mine: int) -> float:
        """Up to how many turns in flight it may go in, being its tenant's `mine`th: below the limit for a tenant far above its
        part, beyond it for one within its part that used less than the one that was served last."""
        ticket, limit, now = place.ticket, self.limiter.limit, self._monotonic()
        frugal = self._queue.credit(ticket.priority, ticket.tenant) >= place.tokens
        beyond = self._furthest() if frugal and ticket.priority is Priority.CUSTOMER else limit
        if (frugal and mine <= CLUMP) or mine == 1 or self.in_flight + 1 > beyond:
            return beyond  # whatever its part is: to tell that, every tenant is looked at
        apart, fair = min(limit, self.apart.limit), self.accounts.fair_part(ticket.tenant, now)
        many = mine > FAR_ABOVE * max(fair * apart, CLUMP)
        if many or (not frugal and mine > fair * apart and self.accounts.floods(ticket.tenant, FAR_ABOVE, now)):
            return apart - math.floor(HEADROOM * apart)
        return beyond if mine <= fair * limit else limit

    def _furthest(self) -> float:
        """Turns in flight beyond which nobody is let in."""
        return max(self.limiter.limit, min((1 + HEADROOM) * self.limiter.limit, self._limits.in_flight_most))

    def _let_in(self, place: Place, now: float) -> None:
        ticket = place.ticket
        place.state, place.admitted_s = State.IN, now
        self._in_flight[ticket.priority] += 1
        self._tokens_in_flight += place.tokens
        place.beside = self.in_flight
        if self._held_back(ticket, now):
            self.strain.take()
        self.accounts.let_in(ticket.tenant, now)
        self.accounts.spend(ticket.tenant, ticket.limits, place.tokens, now)
        for listener in self.listeners:
            listener.let_in(place, now - place.offered_s)
        place.wake()

    def _make_room(self, place: Place, wait_s: float) -> None:
        """A full queue: the longest flow gives up its last place, unless that is the newcomer's own."""
        longest, ticket = self._queue.longest(place.ticket.priority), place.ticket
        mine = (self._queue.queued(ticket.priority, ticket.tenant)[1] + place.tokens) / ticket.limits.weight
        if longest is None or (longest.priority is ticket.priority and self._queued(longest) <= mine):
            raise self._refuse(place, Reason.FULL, wait_s, wait_s)
        self._queue.remove(longest)
        self._turn_away(longest.item, Reason.FULL)

    def _queued(self, entry: Entry[Place]) -> float:
        return self._queue.queued(entry.priority, entry.tenant)[1] / entry.weight

    def _turn_away(self, place: Place, reason: Reason) -> None:
        waited_s = self._monotonic() - place.offered_s
        place.refusal = self._refuse(place, reason, waited_s, self.expected_wait_s(place.ticket, place.tokens))
        place.state = State.REFUSED
        place.wake()

    def _refuse(self, place: Place, reason: Reason, wait_s: float, retry_after_s: float) -> Overloaded:
        for listener in self.listeners:
            listener.refused(place, reason, wait_s)
        lowest, highest = RETRY_AFTER_S
        return Overloaded(SAID[reason], retry_after_s=min(max(retry_after_s, lowest), highest))


SAID = {
    Reason.RATE: "this tenant's tokens a minute are used up",
    Reason.DEADLINE: "it could not be answered before its deadline",
    Reason.FULL: "too much work of this tenant is waiting",
}
