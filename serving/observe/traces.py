"""Traces of turns across replicas, by OpenTelemetry. Off unless a place to send them is set; off, nothing of it is imported.

A span carries ids, counts and error types, never what somebody said: an exception's text and stack stay out of it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol

from serving.observe.metrics import error_type

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span as OtelSpan

CONSOLE: Final = "console"
OTLP_PATH: Final = "/v1/traces"
EXPORT_EVERY_MS: Final = 1000
LEFT: Final = "left"
Fact = str | int | float


class Span(Protocol):
    """One thing done. `traceparent` names it to another process (W3C Trace Context)."""

    @property
    def traceparent(self) -> str: ...

    def tell(self, **facts: Fact) -> None: ...

    def end(self, error: BaseException | None = None) -> None: ...


class Traces(Protocol):
    """Implements `agents.ports.Tracer` and what only processes need. `parent` is a traceparent that came from outside; without
    one the span belongs to the current one."""

    def span(self, name: str, parent: str = "", /, **facts: Fact) -> AbstractContextManager[Span]:
        """A span that is the current one inside the block."""
        ...

    def begin(self, name: str, parent: str = "", /, **facts: Fact) -> Span:
        """A span that never is the current one, for generators, which no block holds. End it."""
        ...

    def trace_id(self) -> str:
        """Of the current span; empty when there is none."""
        ...

    def fresh_context(self) -> Context:
        """A context with nothing in it but the current span."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


def left(error: BaseException | None) -> bool:
    """Whether this is no failure, but whoever waited has read enough or is gone."""
    return isinstance(error, GeneratorExit | asyncio.CancelledError)


class NoSpan:
    traceparent = ""

    def tell(self, **facts: Fact) -> None:
        return None

    def end(self, error: BaseException | None = None) -> None:
        return None


class _Nothing:
    """A block that does nothing, one for all."""

    _span = NoSpan()

    def __enter__(self) -> Span:
        return self._span

    def __exit__(self, *_: object) -> None:
        return None


class NoTraces:
    _block, _span = _Nothing(), NoSpan()

    def span(self, name: str, parent: str = "", /, **facts: Fact) -> AbstractContextManager[Span]:
        return self._block

    def begin(self, name: str, parent: str = "", /, **facts: Fact) -> Span:
        return self._span

    def trace_id(self) -> str:
        return ""

    def fresh_context(self) -> Context:
        return Context()

    def close(self) -> None:
        return None


NO_TRACES: Final[Traces] = NoTraces()


class _OtelSpan:
    """One span of OpenTelemetry."""

    def __init__(self, span: "OtelSpan") -> None:
        self.inner = span

    @property
    def traceparent(self) -> str:
        context = self.inner.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def tell(self, **facts: Fact) -> None:
        self.inner.set_attributes(facts)

    def end(self, error: BaseException | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if left(error):
            self.inner.set_attribute(LEFT, True)
        elif error is not None:
            self.inner.set_attribute("error.type", error_type(error))
            self.inner.set_status(Status(StatusCode.ERROR, error_type(error)))
        self.inner.end()


class OtelTraces:
    """Spans of one process, which calls itself `service`. Built by `open_traces`, or with a processor of a test's own."""

    def __init__(self, service: str, replica: str, processor: "SpanProcessor", ratio: float = 1.0) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        named = Resource.create({"service.name": service, "service.instance.id": replica})
        self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=named)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("keepword")

    @contextmanager
    def span(self, name: str, parent: str = "", /, **facts: Fact) -> Iterator[Span]:
        from opentelemetry.trace import use_span

        begun = self._begin(name, parent, facts)
        with use_span(begun.inner, record_exception=False, set_status_on_exception=False):
            try:
                yield begun
            except BaseException as error:
                begun.end(error)
                raise
        begun.end()

    def begin(self, name: str, parent: str = "", /, **facts: Fact) -> Span:
        return self._begin(name, parent, facts)

    def trace_id(self) -> str:
        from opentelemetry.trace import get_current_span

        found = get_current_span().get_span_context()
        return f"{found.trace_id:032x}" if found.is_valid else ""

    def fresh_context(self) -> Context:
        from opentelemetry import context

        fresh = Context()
        fresh.run(context.attach, context.get_current())
        return fresh

    def close(self) -> None:
        self._provider.shutdown()

    def _begin(self, name: str, parent: str, facts: dict[str, Fact]) -> _OtelSpan:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        came_from = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
        served = bool(parent) or name.startswith("http ")
        asked = name.startswith(("model ", "tool ", "store "))
        kind = SpanKind.SERVER if served else SpanKind.CLIENT if asked else SpanKind.INTERNAL
        return _OtelSpan(self._tracer.start_span(name, came_from, kind, facts))


def open_traces(to: str, ratio: float, *, service: str, replica: str) -> Traces:
    """`to`: empty for none, "console" for JSON on stdout, or an OTLP collector's URL, of which the path may be left out."""
    if not to:
        return NO_TRACES
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    if to == CONSOLE:
        return OtelTraces(service, replica, SimpleSpanProcessor(ConsoleSpanExporter()), ratio)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = to if to.rstrip("/").count("/") > 2 else to.rstrip("/") + OTLP_PATH
    batches = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=EXPORT_EVERY_MS)
    return OtelTraces(service, replica, batches, ratio)
