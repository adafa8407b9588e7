"""The ports a desk stands on, timed, counted and traced. They change nothing of what passes through."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from time import thread_time
from typing import Any, Unpack

from agents.domain.errors import KeepwordError
from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord, ActionStatus, Proposal, ToolSpec
from agents.passing_store import PassingStore
from agents.ports import (
    AppendPlace,
    BackOffice,
    IntentHow,
    Model,
    ModelChunk,
    ModelRequest,
    ModelResult,
    OpenPlace,
    ToolCall,
    TurnOpening,
)
from retrieval.embedding import Embedder, Kind, Vectors
from serving.http.follow import FollowedStore
from serving.observe.metrics import EmbeddingMetrics, Metrics
from serving.observe.traces import Span, Traces


class ObservedStore(PassingStore):
    """Database time by operation; and every stored event is told to the turns' metrics. Only writes have spans: who follows a
    session reads all the time."""

    def __init__(self, inner: FollowedStore, metrics: Metrics, traces: Traces) -> None:
        super().__init__(inner)
        self._followed, self._metrics, self._traces = inner, metrics, traces

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        with self._metrics.calls.store("append"), self._traces.span("store append", first=events[0].type, events=len(events)):
            appended = await super().append(session_id, events, **place)
        for stored in appended:
            self._metrics.turns.told(stored)
        return appended

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        with self._metrics.calls.store("open_turn"), self._traces.span("store open_turn"):
            opening = await super().open_turn(session_id, events, **place)
        for stored in opening.stored:
            self._metrics.turns.told(stored)
        return opening

    async def last_seqs(self, session_ids: Sequence[str]) -> Mapping[str, int]:
        with self._metrics.calls.store("last_seqs"):
            return await self._followed.last_seqs(session_ids)

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        with self._metrics.calls.store("renew_leases"):
            return await super().renew_leases(held, ttl_s=ttl_s)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        with self._metrics.calls.store("events"):
            return await super().events(session_id, after_seq=after_seq)

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        with self._metrics.calls.store("acquire_lease"):
            return await super().acquire_lease(session_id, holder, ttl_s=ttl_s)

    async def release_lease(self, session_id: str, holder: str) -> None:
        with self._metrics.calls.store("release_lease"):
            await super().release_lease(session_id, holder)

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        with self._metrics.calls.store("turn_by_key"):
            return await super().turn_by_key(session_id, idempotency_key)

    async def intend(self, record: ActionRecord, **how: Unpack[IntentHow]) -> ActionRecord:
        with self._metrics.calls.store("intend"), self._traces.span("store intend", action=record.proposal.action):
            stored = await super().intend(record, **how)
        if stored.status is ActionStatus.FAILED:  # a failed line is intended anew: this one was denied just now
            self._metrics.ledger.settled(stored.proposal.action, stored.status.value)
        return stored

    async def begin(self, record: ActionRecord) -> bool:
        with self._metrics.calls.store("begin"), self._traces.span("store begin", action=record.proposal.action):
            return await super().begin(record)

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        name, status = record.proposal.action, record.status.value
        with self._metrics.calls.store("settle"), self._traces.span("store settle", action=name, status=status):
            await super().settle(record, then)
        self._metrics.ledger.settled(name, status)

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        with self._metrics.calls.store("lines"):
            return await super().lines(offer_id)

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        with self._metrics.calls.store("actions"):
            return await super().actions(customer_id, since=since)

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        try:
            with self._metrics.calls.store("unsettled"):
                found = await super().unsettled()
        except KeepwordError:
            self._metrics.ledger.sweep_failed()
            raise
        self._metrics.ledger.swept(Counter(record.status.value for record in found))
        return found


class ObservedOffice:
    """Time and errors by tool. `outcome` is the question what became of a call."""

    def __init__(self, inner: BackOffice, metrics: Metrics, traces: Traces) -> None:
        self._inner, self._metrics, self._traces = inner, metrics, traces

    def specs(self) -> Sequence[ToolSpec]:
        return self._inner.specs()

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        with self._metrics.calls.tool(tool), self._traces.span(f"tool {tool}"):
            return await self._inner.call(tool, args, call)

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        with self._metrics.calls.tool("outcome"), self._traces.span("tool outcome", action=proposal.action):
            return await self._inner.outcome(proposal, call)


class ObservedEmbedder:
    """The embedder's CPU: its own threads' time, as it is called in one."""

    def __init__(self, inner: Embedder, metrics: EmbeddingMetrics) -> None:
        self._inner, self._metrics = inner, metrics
        self.name, self.dimension = inner.name, inner.dimension

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        began = thread_time()
        try:
            return self._inner.embed(texts, kind)
        finally:
            self._metrics.embedded(len(texts), thread_time() - began)


class ObservedModel:
    """The engine as the desk sees it. Requests go on with the name of their span, so that the engine's belong to it."""

    def __init__(self, inner: Model, metrics: Metrics, traces: Traces) -> None:
        self._inner, self._metrics, self._traces = inner, metrics, traces

    async def generate(self, request: ModelRequest) -> ModelResult:
        with self._metrics.calls.model("generate"), self._traces.span("model generate", **_asked(request)) as span:
            result = await self._inner.generate(_within(request, span))
            span.tell(**answered(result))
            return result

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        span, first = self._traces.begin("model stream", **_asked(request)), True
        try:
            with self._metrics.calls.model("stream") as timed:
                async with aclosing(self._inner.stream(_within(request, span))) as chunks:
                    async for chunk in chunks:
                        if first:
                            self._metrics.calls.first_piece(timed.so_far_s())
                            first = False
                        if chunk.result is not None:
                            span.tell(**answered(chunk.result))
                        yield chunk
        except BaseException as error:
            span.end(error)
            raise
        span.end()


def _within(request: ModelRequest, span: Span) -> ModelRequest:
    return replace(request, traceparent=span.traceparent) if span.traceparent else request


def _asked(request: ModelRequest) -> dict[str, str | int | float]:
    kind = request.structure.kind if request.structure is not None else "text"
    return {"gen_ai.request.max_tokens": request.max_tokens, "gen_ai.output.type": kind, "deadline_s": request.deadline_s}


def answered(result: ModelResult) -> dict[str, str | int | float]:
    """What a span tells of a model's answer; `gen_ai.…` by OpenTelemetry's semantic conventions."""
    return {
        "gen_ai.response.finish_reasons": result.finish_reason,
        "gen_ai.usage.input_tokens": result.prompt_tokens,
        "cached_tokens": result.cached_tokens,
        "gen_ai.usage.output_tokens": result.completion_tokens,
        "first_token_s": round(result.first_token_s, 4),
        "grammar_s": round(result.grammar_s, 4),
    }
