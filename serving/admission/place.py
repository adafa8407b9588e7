"""One piece of work at the gate, what becomes of it, and who hears of that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from agents.domain.errors import Overloaded
from serving.admission.fair_queue import Entry
from serving.admission.tickets import Ticket


class State(StrEnum):
    WAITING = "waiting"
    IN = "in"
    REFUSED = "refused"
    GONE = "gone"


class Reason(StrEnum):
    """Why work was refused, for metrics."""

    RATE = "rate"  # the tenant's tokens a minute are used up
    DEADLINE = "deadline"  # it could not be answered in time
    FULL = "full"  # the queue is full, and this tenant's part of it the longest


@dataclass(eq=False)
class Place:
    """One piece of work at the gate. `wake` is called once when it no longer waits. Times are the clock's."""

    ticket: Ticket
    tokens: float
    offered_s: float
    wake: Callable[[], None]
    state: State = State.WAITING
    queued: bool = False
    admitted_s: float = 0.0
    beside: int = 0  # turns in flight when it was let in, itself included
    refusal: Overloaded | None = None
    entry: Entry["Place"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ticket = self.ticket
        self.entry = Entry(self, ticket.priority, ticket.tenant, self.tokens, ticket.limits.weight)

    @property
    def due_s(self) -> float:
        return self.offered_s + self.ticket.deadline_s


class Listener:
    """Hears what the gate does; the default hears nothing. Brown-out and metrics listen."""

    def let_in(self, place: Place, waited_s: float) -> None: ...

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        """`wait_s`: what it waited, or would have had to."""

    def left(self, place: Place, slowness: float | None) -> None: ...
