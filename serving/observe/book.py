"""A registry that also remembers what each metric is, so that the table in README.md can be held against it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric as Prometheus shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.kind} | {', '.join(f'`{label}`' for label in self.labels)} | {self.meaning} |"


class Book:
    """The metrics of one process."""

    def __init__(self) -> None:
        # A time of birth for every series would double the text, and nobody reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.rows: list[Row] = []

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        self._note(f"{name}_total", "counter", labels, meaning)
        return Counter(name, meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        self._note(name, "gauge", labels, meaning)
        return Gauge(name, meaning, labels, registry=self.registry)

    def histogram(self, name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> Histogram:
        self._note(name, "histogram", labels, meaning)
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def collector(self, collector: Collector, name: str, kind: str, meaning: str) -> None:
        """A metric that collects itself."""
        self._note(name, kind, (), meaning)
        self.registry.register(collector)

    def of_this_process(self) -> None:
        """Add the client library's own `process_…` and `python_gc_…`."""
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def _note(self, name: str, kind: str, labels: Iterable[str], meaning: str) -> None:
        self.rows.append(Row(name, kind, tuple(labels), meaning))


class Few:
    """Keeps a label's values few: the first `limit` that come, then "other". For values that come from outside."""

    def __init__(self, limit: int = 200) -> None:
        self._limit, self._seen = limit, set[str]()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit:
            return OTHER
        self._seen.add(value)
        return value
