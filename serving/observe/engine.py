"""Metrics and spans of an engine's replica: its requests, and what goes on inside it where the engine tells (`EngineStep`)."""

from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Protocol, runtime_checkable

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from agents.ports import Model, ModelChunk, ModelRequest, ModelResult
from serving.observe.book import Book
from serving.observe.loop_lag import LoopLag
from serving.observe.metrics import error_type
from serving.observe.ports import answered
from serving.observe.traces import LEFT, Traces, left

FIRST_TOKEN_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 8, 13, 20, 30, 60)
INTER_TOKEN_S: Final = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class EngineStep:
    """What an engine tells after a step. Gauges are as they stand after it; the rest is of this step alone. Tokens are counts,
    `kv_cache_usage` a share of 1, times in seconds. `finished` counts requests by why they ended."""

    running: int
    waiting: int
    kv_cache_usage: float
    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    first_token_s: Sequence[float] = ()
    inter_token_s: Sequence[float] = ()
    queued_s: Sequence[float] = ()
    finished: Mapping[str, int] = field(default_factory=dict)
    prefilled_s: Sequence[float] = ()


NOTHING: Final = EngineStep(0, 0, 0.0)
NO_PID: Final = 2**31 - 1  # of no process


@runtime_checkable
class TellsSteps(Protocol):
    """A Model whose engine tells its steps. `report_to` is called once, before the first request."""

    def report_to(self, metrics: "EngineMetrics") -> None: ...


class Batches(Collector):
    """A histogram that takes many values at once: a step has one for every request it served. Not for several threads."""

    def __init__(self, name: str, meaning: str, buckets: Sequence[float]) -> None:
        self._name, self._meaning, self._edges = name, meaning, tuple(buckets)
        self._counts, self._sum = [0] * (len(buckets) + 1), 0.0

    def observe(self, values: Iterable[float]) -> None:
        for value in values:
            self._counts[bisect_left(self._edges, value)] += 1
            self._sum += value

    def collect(self) -> Iterable[Metric]:
        edges = [*map(str, map(float, self._edges)), "+Inf"]
        buckets = list(zip(edges, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum)


class EngineMetrics:
    """Every metric of an engine's process."""

    def __init__(self) -> None:
        self.book = book = Book()
        self._calls = book.counter(
            "keepword_engine_calls",
            "Calls of this replica, by how they ended; left: the caller had enough, or went.",
            ["call", "outcome"],
        )
        self._in_flight = book.gauge("keepword_engine_calls_in_flight", "Calls begun and not ended.")
        self._now = NOTHING
        self._idle: Callable[[], bool] = lambda: False
        running = book.gauge("keepword_engine_running", "Requests the engine decodes or prefills now.")
        waiting = book.gauge("keepword_engine_waiting", "Requests that wait for a place in the engine.")
        kv_cache = book.gauge("keepword_engine_kv_cache_usage_ratio", "Share of the KV cache in use, 0 to 1.")
        running.set_function(lambda: self.now().running)
        waiting.set_function(lambda: self.now().waiting)
        kv_cache.set_function(lambda: self.now().kv_cache_usage)
        self._queries = book.counter("keepword_engine_prefix_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = book.counter("keepword_engine_prefix_hits", "Prompt tokens found in the prefix cache.")
        self._preempted = book.counter("keepword_engine_preemptions", "Requests put back for want of KV cache.")
        tokens = book.counter("keepword_engine_tokens", "Tokens computed: prefill (without cached ones) and decode.", ["phase"])
        self._prefill, self._decode = tokens.labels("prefill"), tokens.labels("decode")
        self._finished = book.counter(
            "keepword_engine_requests",
            "Requests the engine finished, by why; those that were left are not among them.",
            ["reason"],
        )
        self._steps = book.counter("keepword_engine_steps", "Steps of the engine that were told.")
        self._first = self._batches("keepword_engine_first_token_seconds", "From arrival to the first token.", FIRST_TOKEN_S)
        self._inter = self._batches("keepword_engine_inter_token_seconds", "Between two tokens of a request.", INTER_TOKEN_S)
        self._queued = self._batches("keepword_engine_queued_seconds", "A request's wait for a place.", FIRST_TOKEN_S)
        self._prefilled = self._batches("keepword_engine_prefill_seconds", "From a place to the first token.", FIRST_TOKEN_S)
        self.loop_lag = LoopLag(book)
        book.of_this_process()

    def watch_idle(self, idle: Callable[[], bool]) -> None:
        """`idle` says that nothing is left: a request that was aborted ends without a step that would tell."""
        self._idle = idle

    def watch_core(self, pid: Callable[[], int | None]) -> None:
        """Add `keepword_engine_core_process_…`: the process that computes, where it is not this one. Of a process that is gone
        there is nothing."""
        ProcessCollector("keepword_engine_core", lambda: pid() or NO_PID, registry=self.book.registry)

    def now(self) -> EngineStep:
        """The gauges as they stand."""
        return NOTHING if self._idle() else self._now

    def step(self, told: EngineStep) -> None:
        self._steps.inc()
        self._now = told
        self._queries.inc(told.prefix_queries)
        self._hits.inc(told.prefix_hits)
        self._preempted.inc(told.preemptions)
        self._prefill.inc(told.prefill_tokens)
        self._decode.inc(told.decode_tokens)
        self._first.observe(told.first_token_s)
        self._inter.observe(told.inter_token_s)
        self._queued.observe(told.queued_s)
        self._prefilled.observe(told.prefilled_s)
        for reason, count in told.finished.items():
            self._finished.labels(reason).inc(count)

    def began(self) -> None:
        self._in_flight.inc()

    def ended(self, call: str, error: BaseException | None) -> None:
        self._in_flight.dec()
        outcome = "done" if error is None else LEFT if left(error) else error_type(error)
        self._calls.labels(call, outcome).inc()

    def _batches(self, name: str, meaning: str, buckets: Sequence[float]) -> Batches:
        batches = Batches(name, meaning, buckets)
        self.book.collector(batches, name, "histogram", meaning)
        return batches


class ServedModel:
    """The model inside the engine's replica, counted and traced: its spans belong to the trace its request names."""

    def __init__(self, inner: Model, metrics: EngineMetrics, traces: Traces) -> None:
        self._inner, self._metrics, self._traces = inner, metrics, traces
        if isinstance(inner, TellsSteps):
            inner.report_to(metrics)

    async def generate(self, request: ModelRequest) -> ModelResult:
        self._metrics.began()
        failed: BaseException | None = None
        try:
            with self._traces.span("engine generate", request.traceparent) as span:
                result = await self._inner.generate(request)
                span.tell(**answered(result))
                return result
        except BaseException as error:
            failed = error
            raise
        finally:
            self._metrics.ended("generate", failed)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        self._metrics.began()
        span, failed = self._traces.begin("engine stream", request.traceparent), None
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.result is not None:
                        span.tell(**answered(chunk.result))
                    yield chunk
        except BaseException as error:
            failed = error
            raise
        finally:
            span.end(failed)
            self._metrics.ended("stream", failed)
