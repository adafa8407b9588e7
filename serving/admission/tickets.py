"""The words of admission: who calls, what is asked for, within which limits."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Priority(IntEnum):
    """Who waits. A lower value goes first, and never takes more than `fair_queue.CLASS_WEIGHTS` leaves the others."""

    CUSTOMER = 0
    OPERATOR = 1
    BATCH = 2


class Scope(StrEnum):
    """What a key opens. `admin` opens everything; `batch` opens nothing, it makes all of a key's work wait as batch."""

    TURNS = "turns"  # open sessions, take turns, read sessions of its tenant
    CHAT = "chat"  # the OpenAI-compatible routes
    OPERATOR = "operator"  # handoffs, and reading the sessions they are about
    BATCH = "batch"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may use, over all desk replicas; None: no limit of its own. `weight` is its share against others'."""

    turns_in_flight: int | None = None
    tokens_per_minute: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request. `tenant` "" is the house: its keys speak for every tenant. `name` is the key's, for people."""

    tenant: str
    scopes: frozenset[Scope]
    priority: Priority = Priority.CUSTOMER
    limits: Limits = field(default_factory=Limits)
    name: str = ""
    key_id: str = ""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def speaks_for(self, tenant: str) -> bool:
        return self.tenant in ("", tenant)


def priority_of(scopes: Iterable[Scope]) -> Priority:
    """A key's place in the queue follows from its scopes: batch work waits longest, whoever sends it."""
    found = set(scopes)
    if Scope.BATCH in found:
        return Priority.BATCH
    return Priority.OPERATOR if Scope.OPERATOR in found else Priority.CUSTOMER


@dataclass(frozen=True, slots=True)
class Ticket:
    """One piece of work at the door. `tokens` is its estimated cost in `weighed` tokens, None: a usual turn's. `deadline_s`
    is how long from now the caller waits for the answer; `target_s` how long it should take once it is in, None: as a turn."""

    tenant: str
    priority: Priority = Priority.CUSTOMER
    tokens: float | None = None
    deadline_s: float = 30.0
    target_s: float | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, caller: Caller, *, deadline_s: float, tokens: float | None = None, target_s: float | None = None) -> "Ticket":
        return cls(caller.tenant, caller.priority, tokens, deadline_s, target_s, caller.limits)


def weighed(*, prompt: int, completion: int, cached: int = 0) -> float:
    """What a generation costs, in output tokens: an input token that is not in the cache counts half. The weights (1 and 2)
    are those of Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024."""
    return completion + max(prompt - cached, 0) / 2
