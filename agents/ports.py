"""What `agents` needs from the outside, as small Protocols. Concrete objects are built in `serving/wiring.py` alone.

Longer than a module should be: all of the outside on one page.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NotRequired, Protocol, TypedDict

from agents.domain.brownout import Brownout
from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord, Exemplar, Locale, Proposal, ToolSpec


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Structure:
    """What an output must look like. `kind` "regex": `spec` is the pattern; "json": a JSON Schema as canonical JSON text;
    "choice": a JSON array of strings. `name` is set when the structure is known at deploy time and compiled ahead."""

    kind: Literal["regex", "json", "choice"]
    spec: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One generation. `logprobs` asks for the top log-probabilities (natural log) of each output token, allowed tokens only.
    `session_id` is for cache affinity; `traceparent` says whose trace this belongs to (W3C Trace Context), empty: nobody's."""

    messages: tuple[Message, ...]
    max_tokens: int
    structure: Structure | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    deadline_s: float = 30.0
    logprobs: int = 0
    session_id: str | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """`token_logprobs` is one mapping per output token: token text -> log-probability. Times in seconds.
    `grammar_s` is the time this request waited for its grammar."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    first_token_s: float = 0.0
    total_s: float = 0.0
    grammar_s: float = 0.0
    token_logprobs: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelChunk:
    """A piece of a stream; the last one carries `result` (and may carry no text)."""

    text: str
    result: ModelResult | None = None


class Model(Protocol):
    """A language model. Raises `ModelFailure` errors; never returns an empty, truncated or invalid structured output.
    Closing the stream cancels the request in the engine."""

    async def generate(self, request: ModelRequest) -> ModelResult: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]: ...


@dataclass(frozen=True, slots=True)
class ScoredExemplar:
    exemplar: Exemplar
    score: float


@dataclass(frozen=True, slots=True)
class ScoredClause:
    clause_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What retrieval found for a message. `scenarios` and `acts` are calibrated probabilities over every label, sum 1."""

    exemplars: tuple[ScoredExemplar, ...]
    clauses: tuple[ScoredClause, ...]
    scenarios: Mapping[str, float]
    acts: Mapping[str, float]


class Retriever(Protocol):
    """Finds the nearest exemplars and clauses (vector and lexical, one fused ranking) for one message. CPU-bound, fast."""

    def retrieve(self, text: str, locale: Locale, *, exemplars: int = 8, clauses: int = 6) -> Retrieved: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A session taken by `holder` until `until`."""

    session_id: str
    holder: str
    until: datetime


Permits = Callable[[Sequence[ActionRecord]], bool]
"""Whether an action is permitted beside the customer's other counted ledger lines. Pure and fast: it runs in a transaction."""


@dataclass(frozen=True, slots=True)
class TurnOpening:
    """What came of opening a turn, one of three: `stored` events; `repeats`, the turn its idempotency key began before; or
    `missed`, when the log had moved on: every event after the expected one (and the last one at least)."""

    stored: tuple[StoredEvent, ...] = ()
    repeats: str | None = None
    missed: tuple[StoredEvent, ...] = ()


class AppendPlace(TypedDict):
    """`Store.append`'s named arguments, for what passes them on."""

    expected_seq: int
    expected_hash: NotRequired[str | None]
    release: NotRequired[str | None]


class OpenPlace(TypedDict):
    """The same of `Store.open_turn`."""

    expected_seq: int
    expected_hash: str
    ttl_s: float


class IntentHow(TypedDict):
    """The same of `Store.intend`."""

    then: NotRequired[Sequence[ActionRecord]]
    permits: NotRequired[Permits | None]
    since: NotRequired[datetime | None]


class Store(Protocol):
    """Sessions, events, leases and the ledger's records, durable and shared by all replicas."""

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int,
        expected_hash: str | None = None,
        release: str | None = None,
    ) -> tuple[StoredEvent, ...]:
        """Append atomically after `expected_seq` (0 for a new session). `expected_hash` is that event's, where the caller knows
        it; `release` names the holder whose lease ends with these events. Raises TurnInProgress if another writer was first."""
        ...

    async def open_turn(
        self, session_id: str, events: Sequence[Event], *, expected_seq: int, expected_hash: str, ttl_s: float
    ) -> TurnOpening:
        """Begin a turn, all or nothing: its lease is taken (its id is the holder) and `events` are appended, of which the last
        is its TurnStarted. Raises NotFound, and TurnInProgress while another holder's lease has not run out."""
        ...

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        """Events in order. Raises NotFound for an unknown session."""
        ...

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        """Take the session for one turn; False when another holder has it and it has not expired."""
        ...

    async def release_lease(self, session_id: str, holder: str) -> None: ...

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        """Prolong leases, given as (session id, holder); those still held. A lease that ran out is prolonged too, unless
        somebody else took the session meanwhile."""
        ...

    async def expired_leases(self) -> tuple[Lease, ...]:
        """Leases that ran out and were never given back: their processes died, or hang."""
        ...

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        """The turn id an idempotency key already started, if any."""
        ...

    async def intend(
        self,
        record: ActionRecord,
        *,
        then: Sequence[ActionRecord] = (),
        permits: Permits | None = None,
        since: datetime | None = None,
    ) -> ActionRecord:
        """Write the intent unless `record.key` is there; return what is stored now (the caller compares the attempt). A failed
        line is intended anew. One customer's intents take turns: `permits` sees the others from `since` on, and what it
        denies is stored as failed instead, in the same transaction. So are `then`, the lines of the offer's later steps,
        written only where the intent is."""
        ...

    async def begin(self, record: ActionRecord) -> bool:
        """The planned line's turn has come: its status, result and time are `record`'s now. False when it is planned no
        longer: somebody else was first."""
        ...

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        """Overwrite the status and result of `record.key` while it is intended or unknown; what is final stays. In the same
        transaction, and only then, write what follows from it for the other lines of its offer, each if nothing stands
        against it: a new line, a planned one that is given up, a done one that is undone."""
        ...

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        """Every ledger line of an offer, of any status: its steps in order, then what undoes them, the last step first."""
        ...

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        """A customer's ledger lines from `since` on, planned, intended, done and unknown ones (they all count against caps),
        and those that undo."""
        ...

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        """Ledger lines left planned, intended, unknown or stuck, oldest first: what recovery looks after."""
        ...


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Who calls, when, and with which idempotency key (writes only). The customer is the session's authenticated one:
    a tool never learns it from text."""

    customer_id: str
    now: datetime
    key: str | None = None


class BackOffice(Protocol):
    """The business's own systems, behind the pack's tools."""

    def specs(self) -> Sequence[ToolSpec]: ...

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        """Run a tool. A read returns the fields of the fact it provides; a write its receipt.
        Raises ToolRefused, ToolFailed, ToolUnknown; BadInput when the arguments do not match the tool's schema."""
        ...

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        """The receipt of a write already done under `call.key`, None if it certainly was not done."""
        ...


class Clock(Protocol):
    """`now` is aware, UTC. `monotonic` in seconds, for durations."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class Tracer(Protocol):
    """Is told what is done, and when it begins and ends. `facts` are ids and counts, never what somebody said."""

    def span(self, name: str, /, **facts: str | int | float) -> AbstractContextManager[object]: ...


class _NoTracer:
    def span(self, name: str, /, **facts: str | int | float) -> AbstractContextManager[object]:
        return nullcontext()


NO_TRACER: Tracer = _NoTracer()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a turn may use: how much of the engine, and how many seconds until its caller leaves (None: the desk's own)."""

    level: Brownout = Brownout.NORMAL
    deadline_s: float | None = None


class Pressure(Protocol):
    """How much the desk is asked for, against what it can do."""

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        """Read once, when a turn begins."""
        ...


class NoPressure:
    """A desk with one customer."""

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        return Allowance(deadline_s=deadline_s)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a turn spent on the model."""

    llm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
