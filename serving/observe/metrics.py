"""What the desk's /metrics tells. One per process, built in wiring; rooms are handed the part they speak to."""

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter

from prometheus_client import CollectorRegistry, Histogram

from agents.domain.errors import KeepwordError
from serving.observe.book import Book, Few
from serving.observe.loop_lag import LoopLag
from serving.observe.turns import TokenPrices, TurnMetrics

Read = Callable[[], float]


class Metrics:
    """Every metric of a desk's process."""

    def __init__(self, prices: TokenPrices | None = None, about: Mapping[str, str] | None = None) -> None:
        self.book = Book()
        self.turns = TurnMetrics(self.book, prices or TokenPrices())
        self.admission = AdmissionMetrics(self.book, self.turns)
        self.http = HttpMetrics(self.book)
        self.calls = CallMetrics(self.book)
        self.embedding = EmbeddingMetrics(self.book)
        self.ledger = LedgerMetrics(self.book)
        self.replicas = ReplicaMetrics(self.book)
        self.loop_lag = LoopLag(self.book)
        about = about or {}
        built = self.book.gauge("keepword_build_info", "Always 1; what runs here.", ["model", "pack", "version"])
        built.labels(*(about.get(label, "") for label in ("model", "pack", "version"))).set(1)
        self.book.of_this_process()

    @property
    def registry(self) -> CollectorRegistry:
        return self.book.registry


class AdmissionMetrics:
    """What the admission room tells: each decision as it falls, and once what can be read at any time. `tenant` is an API
    key's, never a customer's; `priority` and `reason` are words of a few."""

    def __init__(self, book: Book, turns: TurnMetrics) -> None:
        self._turns, self._tenant = turns, Few()
        self._admitted = book.counter("keepword_admissions", "Turns admitted.", ["tenant", "priority"])
        self._refused = book.counter("keepword_refusals", "Turns refused before they began.", ["tenant", "priority", "reason"])
        self._queue = book.gauge("keepword_queue_length", "Turns waiting to be admitted.", ["priority"])
        self._gauges = {
            "brown_out": book.gauge("keepword_brown_out_level", "Steps of brown-out in force; 0: everything is on."),
            "in_flight": book.gauge("keepword_admission_in_flight", "Turns that are in."),
            "limit": book.gauge("keepword_admission_limit", "How many turns may be in, as learned."),
            "limit_apart": book.gauge(
                "keepword_admission_limit_apart", "How many turns may be in for a tenant far above its share, as learned."
            ),
            "tokens_in_flight": book.gauge("keepword_admission_tokens_in_flight", "Estimated tokens of the turns that are in."),
            "token_budget": book.gauge("keepword_admission_token_budget", "How many tokens may be in."),
            "held": book.gauge(
                "keepword_admission_held", "1 while tenants far above their share wait for the desk's own processor."
            ),
            "tokens_per_s": book.gauge("keepword_admission_tokens_per_second", "What the full engine gives, as measured."),
        }

    def admitted(self, tenant: str, priority: str, waited_s: float) -> None:
        self._admitted.labels(self._tenant(tenant), priority).inc()
        self._turns.stage("queue", waited_s)

    def refused(self, tenant: str, priority: str, reason: str) -> None:
        self._refused.labels(self._tenant(tenant), priority, reason).inc()

    def watch(self, reads: Mapping[str, Read], waiting: Mapping[str, Read]) -> None:
        """Read these whenever /metrics is asked. `reads`: of brown_out, in_flight, limit, tokens_in_flight, token_budget and
        tokens_per_s those there are; `waiting` by priority."""
        for name, read in reads.items():
            self._gauges[name].set_function(read)
        for priority, read in waiting.items():
            self._queue.labels(priority).set_function(read)


class HttpMetrics:
    def __init__(self, book: Book) -> None:
        self._requests = book.counter("keepword_http_requests", "HTTP requests answered.", ["method", "route", "status"])
        self._seconds = book.histogram(
            "keepword_http_request_seconds",
            "From a request's arrival to the head of its answer; a stream then goes on.",
            ["route"],
        )
        self.streams = book.gauge("keepword_streams_open", "Event streams being sent.")

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class CallMetrics:
    """What the desk waits for outside: database, tools, model."""

    def __init__(self, book: Book) -> None:
        self._store = book.histogram("keepword_store_seconds", "Database time by operation.", ["operation"])
        self._tool = book.histogram("keepword_tool_seconds", "Calls of the back office by tool.", ["tool"])
        self._model = book.histogram("keepword_model_seconds", "Requests to the engine, as the desk waits for them.", ["call"])
        self._errors = book.counter(
            "keepword_call_errors", "Errors of the database, of tools, of the model, by type.", ["of", "name", "error"]
        )
        self._children: dict[tuple[str, str], Histogram] = {}
        self._first = book.histogram(
            "keepword_model_first_piece_seconds", "Until a stream of the engine brought its first piece."
        )

    def store(self, operation: str) -> "Timed":
        return Timed(self, "store", operation)

    def tool(self, tool: str) -> "Timed":
        return Timed(self, "tool", tool)

    def model(self, call: str) -> "Timed":
        return Timed(self, "model", call)

    def first_piece(self, seconds: float) -> None:
        self._first.observe(seconds)

    def ended(self, of: str, name: str, seconds: float, error: str | None) -> None:
        child = self._children.get((of, name))
        if child is None:  # looking a child up by its labels costs as much as the observation
            family = {"store": self._store, "tool": self._tool, "model": self._model}[of]
            child = self._children[of, name] = family.labels(name)
        child.observe(seconds)
        if error is not None:
            self._errors.labels(of, name, error).inc()


class Timed:
    """Times what happens inside, and counts the error that leaves it."""

    __slots__ = ("_began", "_metrics", "_name", "_of")

    def __init__(self, metrics: CallMetrics, of: str, name: str) -> None:
        self._metrics, self._of, self._name = metrics, of, name

    def __enter__(self) -> "Timed":
        self._began = perf_counter()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        enough = error is None or isinstance(error, GeneratorExit)  # who has read enough of a stream closes it
        self._metrics.ended(self._of, self._name, self.so_far_s(), None if enough else error_type(error))

    def so_far_s(self) -> float:
        return perf_counter() - self._began


class EmbeddingMetrics:
    """`cpu_s` and `texts` so far, also for who asks without a scrape."""

    def __init__(self, book: Book) -> None:
        self.cpu_s, self.texts = 0.0, 0
        self._cpu_s = book.counter("keepword_embedding_cpu_seconds", "CPU of the embedder, a model that runs in the desk.")
        self._texts = book.counter("keepword_embedded_texts", "Texts embedded; what is said again and again is once.")

    def embedded(self, texts: int, cpu_s: float) -> None:
        self.cpu_s += cpu_s
        self.texts += texts
        self._cpu_s.inc(cpu_s)
        self._texts.inc(texts)


class LedgerMetrics:
    def __init__(self, book: Book) -> None:
        self._actions = book.counter(
            "keepword_actions",
            "Ledger lines settled; one that was unknown first is counted again when known.",
            ["tool", "status"],
        )
        lines = book.gauge("keepword_open_ledger_lines", "Ledger lines without an outcome, at the last look.", ["status"])
        self._lines = {status: lines.labels(status) for status in ("intended", "unknown")}
        self._sweeps = book.counter("keepword_recovery_sweeps", "Looks for open ledger lines.", ["outcome"])

    def settled(self, tool: str, status: str) -> None:
        self._actions.labels(tool, status).inc()

    def swept(self, open_lines: Mapping[str, int]) -> None:
        """`open_lines` by status."""
        self._sweeps.labels("done").inc()
        for status, child in self._lines.items():
            child.set(open_lines.get(status, 0))

    def sweep_failed(self) -> None:
        self._sweeps.labels("failed").inc()


class ReplicaMetrics:
    def __init__(self, book: Book) -> None:
        self._missed = book.counter("keepword_scrape_failures", "Scrapes that lack a replica of this deployment.", ["of"])

    def missed(self, of: str) -> None:
        """Not every replica of deployment `of` answered in time."""
        self._missed.labels(of).inc()


def error_type(error: BaseException | None) -> str:
    """A word for an error that may be a label: our stable type, or the class's name."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.type if isinstance(error, KeepwordError) else type(error).__name__
