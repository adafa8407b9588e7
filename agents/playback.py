"""A taped turn, played again: ports that say what the tape heard, and nothing else."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Unpack

from agents.domain import errors
from agents.domain.brownout import Brownout
from agents.domain.errors import BadInput, KeepwordError, Overloaded, PackInvalid
from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord, ActionStatus, Locale, Proposal, ToolSpec
from agents.ports import (
    Allowance,
    AppendPlace,
    Lease,
    ModelChunk,
    ModelRequest,
    ModelResult,
    OpenPlace,
    Permits,
    Retrieved,
    ToolCall,
    TurnOpening,
)
from agents.tape import RECORDS, RESULT, RETRIEVED, Tape, TapeEnded, call_question

ERRORS = {kind.type: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KeepwordError)}


class PlayedClock:
    """The taped clock; once the tape has no more, it stands still."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._last: dict[str, Any] = {}

    def now(self) -> datetime:
        return datetime.fromisoformat(self._next("now"))

    def monotonic(self) -> float:
        return float(self._next("monotonic"))

    def _next(self, question: str) -> Any:
        try:
            self._last[question] = self._tape.again(question)
        except TapeEnded:
            if question not in self._last:
                raise
        return self._last[question]


class PlayedPressure:
    """The taped allowance; a tape from before there were any had none to hear."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        try:
            level, deadline_s = self._tape.again("allow")
        except TapeEnded:
            return Allowance()
        return Allowance(Brownout(level), deadline_s)


class PlayedModel:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    async def generate(self, request: ModelRequest) -> ModelResult:
        return RESULT.validate_python(_answer(self._tape.again("generate"))["result"])

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        for each in self._tape.again("stream"):
            text, result = _answer(each)
            yield ModelChunk(text, None if result is None else RESULT.validate_python(result))


class PlayedRetriever:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def retrieve(self, text: str, locale: Locale, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        return RETRIEVED.validate_python(self._tape.again("retrieve"))


class PlayedOffice:
    def __init__(self, tape: Tape, specs: Sequence[ToolSpec]) -> None:
        self._tape, self._specs = tape, specs

    def specs(self) -> Sequence[ToolSpec]:
        return self._specs

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = _answer(self._tape.again(call_question(tool, args)))
        return answer

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        receipt: Mapping[str, Any] | None = _answer(self._tape.again("outcome"))
        return receipt


@dataclass
class PlayedStore:
    """One session in memory, which begins with `before`; what is appended gets the times of `times`."""

    tape: Tape
    before: Sequence[StoredEvent]
    appended: list[Event] = field(default_factory=list)

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        self.appended += events
        at = self.before[-1].at
        return tuple(StoredEvent(place["expected_seq"] + number, at, event, "") for number, event in enumerate(events, 1))

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        return TurnOpening(stored=tuple(self.before[-len(events) :]))

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return tuple(stored for stored in self.before if stored.seq > after_seq)

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        return True

    async def release_lease(self, session_id: str, holder: str) -> None:
        return None

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        return frozenset(held)

    async def expired_leases(self) -> tuple[Lease, ...]:
        return ()

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        return None

    async def intend(
        self,
        record: ActionRecord,
        *,
        then: Sequence[ActionRecord] = (),
        permits: Permits | None = None,
        since: datetime | None = None,
    ) -> ActionRecord:
        told = self.tape.again("intend")
        if permits is not None and not permits(RECORDS.validate_python(told["others"])):
            return replace(record, status=ActionStatus.FAILED, result={"reason": "no longer permitted"})
        return record if told["mine"] else RECORDS.validate_python(told["stored"])[0]

    async def begin(self, record: ActionRecord) -> bool:
        return bool(self.tape.again("begin"))

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        return None

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        return RECORDS.validate_python(self.tape.again("lines"))

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        return RECORDS.validate_python(self.tape.again("actions"))

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        return ()


def _answer(told: Any) -> Any:
    """What was told, raised again when it was an error."""
    if isinstance(told, dict) and set(told) == {"error", "message"}:
        kind = ERRORS.get(told["error"], KeepwordError)
        if issubclass(kind, BadInput):
            raise BadInput(told["message"], field="")
        if issubclass(kind, Overloaded | PackInvalid):
            raise KeepwordError(told["message"])
        raise kind(told["message"])
    return told
