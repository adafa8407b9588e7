"""Spans: who holds whom, across processes too; what goes wrong is named and not quoted; off, nothing is made."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agents.domain.errors import EngineUnavailable
from agents.ports import Message, ModelRequest
from serving.observe.engine import EngineMetrics, ServedModel
from serving.observe.metrics import Metrics
from serving.observe.ports import ObservedModel
from serving.observe.traces import NO_TRACES, OtelTraces
from serving.scripted import ScriptedModel

CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Kept:
    """One process's traces, kept in memory."""

    def __init__(self, service: str = "desk", ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.traces = OtelTraces(service, "r1", SimpleSpanProcessor(self._exporter), ratio)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def test_a_clients_trace_goes_on_through_a_task_of_a_fresh_context() -> None:
    kept = Kept()

    async def turn() -> str:
        with kept.traces.span("turn", session_id="ses_1"):
            return kept.traces.trace_id()

    with kept.traces.span("http POST", CLIENTS):
        task = asyncio.create_task(turn(), context=kept.traces.fresh_context())
    assert await task == "0af7651916cd43dd8448eb211c80319c"
    assert parent_of(kept.spans["turn"]) == id_of(kept.spans["http POST"])
    assert parent_of(kept.spans["http POST"]) == 0xB7AD6B7169203331
    assert (kept.spans["turn"].attributes or {})["session_id"] == "ses_1"


async def test_the_engines_spans_belong_to_the_desks_for_streams_too() -> None:
    desk, engine = Kept(), Kept("engine")
    served = ServedModel(ScriptedModel(["one", "two words"]), EngineMetrics(), engine.traces)
    model = ObservedModel(served, Metrics(), desk.traces)
    request = ModelRequest((Message("user", "hello"),), max_tokens=8)
    with desk.traces.span("turn"):
        await model.generate(request)
        async for _ in model.stream(request):
            assert desk.traces.trace_id()
    for call in ("generate", "stream"):
        asked, answered = desk.spans[f"model {call}"], engine.spans[f"engine {call}"]
        assert parent_of(asked) == id_of(desk.spans["turn"])
        assert parent_of(answered) == id_of(asked)
        assert (answered.attributes or {})["gen_ai.usage.output_tokens"] == (1 if call == "generate" else 2)


async def test_a_failure_is_named_by_its_type_and_never_quoted() -> None:
    def fail(_request: ModelRequest) -> str:
        raise EngineUnavailable("jane.doe@example.org cannot be served")

    kept = Kept()
    model = ObservedModel(ScriptedModel(fail), Metrics(), kept.traces)
    with pytest.raises(EngineUnavailable):
        await model.generate(ModelRequest((Message("user", "hello"),), max_tokens=8))
    span = kept.spans["model generate"]
    assert span.status.description == "engine-unavailable"
    assert (span.attributes or {})["error.type"] == "engine-unavailable"
    assert list(span.events) == []
    assert "jane.doe" not in span.to_json()


def test_a_traceparent_that_is_none_begins_a_trace_of_our_own() -> None:
    kept = Kept()
    with kept.traces.span("http GET", "00-nonsense"):
        pass
    assert kept.spans["http GET"].parent is None


def test_a_trace_the_sampler_leaves_out_is_left_out_everywhere() -> None:
    desk, engine = Kept(ratio=0.0), Kept("engine")
    with desk.traces.span("turn") as span, engine.traces.span("engine generate", span.traceparent):
        pass
    assert (desk.spans, engine.spans) == ({}, {})


def test_off_it_costs_no_import_and_changes_no_request() -> None:
    with NO_TRACES.span("turn", CLIENTS) as span:
        assert (span.traceparent, NO_TRACES.trace_id()) == ("", "")
    modules: Sequence[str] = ("serving.wiring", "serving.observe.observing", "serving.observe.engine")
    code = f"import sys, {', '.join(modules)}; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
