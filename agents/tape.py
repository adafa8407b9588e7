"""The tape of a turn: everything the code was told by the outside, in order, so that the turn can be played again bit for bit.

`Taped…` objects stand before the real ports and write down what they say while a turn runs; `agents.playback` says it again.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter

from agents.domain.errors import KeepwordError
from agents.domain.words import ActionRecord, Locale, Proposal, ToolSpec
from agents.passing_store import PassingStore
from agents.ports import (
    Allowance,
    BackOffice,
    Clock,
    Model,
    ModelChunk,
    ModelRequest,
    ModelResult,
    Permits,
    Pressure,
    Retrieved,
    Retriever,
    ToolCall,
)

RESULT: TypeAdapter[ModelResult] = TypeAdapter(ModelResult)
RETRIEVED: TypeAdapter[Retrieved] = TypeAdapter(Retrieved)
RECORDS: TypeAdapter[tuple[ActionRecord, ...]] = TypeAdapter(tuple[ActionRecord, ...])
V = TypeVar("V")


class TapeEnded(KeepwordError):
    """A played turn asked for something the taped one was never told: the code or the pack took another way."""

    type = "tape-ended"


@dataclass
class Tape:
    """`heard` maps a port's question to the answers it gave, in order; JSON values only."""

    heard: dict[str, list[Any]] = field(default_factory=dict)
    _at: dict[str, int] = field(default_factory=dict)

    def hear(self, question: str, answer: Any) -> None:
        self.heard.setdefault(question, []).append(answer)

    def again(self, question: str) -> Any:
        """The next answer to `question`. Raises TapeEnded."""
        at = self._at.get(question, 0)
        if at >= len(self.heard.get(question, ())):
            raise TapeEnded(f"the taped turn never asked {question!r} a {at + 1}. time")
        self._at[question] = at + 1
        return self.heard[question][at]


_running: ContextVar[Tape | None] = ContextVar("running_tape", default=None)


@contextmanager
def taping() -> Iterator[Tape]:
    """Tape what the ports say inside this block, in this task and the ones it starts."""
    tape = Tape()
    token = _running.set(tape)
    try:
        yield tape
    finally:
        _running.reset(token)


def _hear(question: str, answer: Callable[[], Any]) -> None:
    if (tape := _running.get()) is not None:
        tape.hear(question, answer())


class TapedClock:
    def __init__(self, inner: Clock) -> None:
        self._inner = inner

    def now(self) -> datetime:
        now = self._inner.now()
        _hear("now", now.isoformat)
        return now

    def monotonic(self) -> float:
        seconds = self._inner.monotonic()
        _hear("monotonic", lambda: seconds)
        return seconds


class TapedPressure:
    def __init__(self, inner: Pressure) -> None:
        self._inner = inner

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        allowance = self._inner.allow(tenant, deadline_s)
        _hear("allow", lambda: [int(allowance.level), allowance.deadline_s])
        return allowance


class TapedModel:
    def __init__(self, inner: Model) -> None:
        self._inner = inner

    async def generate(self, request: ModelRequest) -> ModelResult:
        try:
            result = await self._inner.generate(request)
        except KeepwordError as error:
            failed = error
            _hear("generate", lambda: _raised(failed))
            raise
        _hear("generate", lambda: {"result": _plain(RESULT, result)})
        return result

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        said: list[Any] = []
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    said.append([chunk.text, None if chunk.result is None else _plain(RESULT, chunk.result)])
                    yield chunk
        except KeepwordError as error:
            said.append(_raised(error))
            raise
        finally:
            _hear("stream", lambda: said)


class TapedRetriever:
    def __init__(self, inner: Retriever) -> None:
        self._inner = inner

    def retrieve(self, text: str, locale: Locale, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        found = self._inner.retrieve(text, locale, exemplars=exemplars, clauses=clauses)
        _hear("retrieve", lambda: _plain(RETRIEVED, found))
        return found


class TapedOffice:
    def __init__(self, inner: BackOffice) -> None:
        self._inner = inner

    def specs(self) -> Sequence[ToolSpec]:
        return self._inner.specs()

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        question = call_question(tool, args)
        try:
            answer = await self._inner.call(tool, args, call)
        except KeepwordError as error:
            failed = error
            _hear(question, lambda: _raised(failed))
            raise
        _hear(question, lambda: dict(answer))
        return answer

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        try:
            receipt = await self._inner.outcome(proposal, call)
        except KeepwordError as error:
            failed = error
            _hear("outcome", lambda: _raised(failed))
            raise
        _hear("outcome", lambda: None if receipt is None else dict(receipt))
        return receipt


class TapedStore(PassingStore):
    """Tapes what the ledger's lines said."""

    async def intend(
        self,
        record: ActionRecord,
        *,
        then: Sequence[ActionRecord] = (),
        permits: Permits | None = None,
        since: datetime | None = None,
    ) -> ActionRecord:
        others: list[ActionRecord] = []

        def noting(lines: Sequence[ActionRecord]) -> bool:
            others[:] = lines
            return permits is None or permits(lines)

        stored = await super().intend(record, then=then, permits=noting if permits is not None else None, since=since)
        mine = stored.result.get("attempt") == record.result.get("attempt")
        told = {"others": _plain(RECORDS, tuple(others)), "mine": mine, "stored": _plain(RECORDS, (stored,))}
        _hear("intend", lambda: told)
        return stored

    async def begin(self, record: ActionRecord) -> bool:
        begun = await super().begin(record)
        _hear("begin", lambda: begun)
        return begun

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        lines = await super().lines(offer_id)
        _hear("lines", lambda: _plain(RECORDS, lines))
        return lines

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        lines = await super().actions(customer_id, since=since)
        _hear("actions", lambda: _plain(RECORDS, lines))
        return lines


def call_question(tool: str, args: Mapping[str, Any]) -> str:
    return f"call {tool} {json.dumps(dict(args), sort_keys=True, ensure_ascii=False, default=str)}"


def _plain(adapter: TypeAdapter[V], value: V) -> Any:
    return adapter.dump_python(value, mode="json")


def _raised(error: KeepwordError) -> dict[str, Any]:
    return {"error": error.type, "message": error.message}
