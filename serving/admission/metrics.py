"""What /metrics tells of admission."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.admission.gate import Gate, Listener, Place, Reason
from serving.admission.pressure import BrownOut
from serving.admission.tickets import Priority

SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


class AdmissionMetrics(Listener):
    """Listens to the gate. No label names a tenant: there may be thousands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._waits = Histogram(
            "keepword_admission_wait_seconds",
            "Time work waited until it was let in.",
            ["priority"],
            buckets=SECONDS,
            registry=registry,
        )
        self._refused = Counter("keepword_admission_refused", "Work refused, by reason.", ["reason"], registry=registry)

    def let_in(self, place: Place, waited_s: float) -> None:
        self._waits.labels(place.ticket.priority.name.lower()).observe(waited_s)

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        self._refused.labels(reason.value).inc()

    def watch(self, gate: Gate, brown_out: BrownOut) -> None:
        """Gauges that are read when Prometheus asks."""
        self._gauge("in_flight", "Work that is in.", lambda: gate.in_flight)
        self._gauge("limit", "How much work may be in, as learned.", lambda: gate.limiter.limit)
        self._gauge("tokens_in_flight", "Estimated tokens of the work that is in.", lambda: gate.tokens_in_flight)
        self._gauge("token_budget", "How many tokens may be in.", lambda: gate.token_budget)
        self._gauge("drain_tokens_per_second", "What a full engine gives, as measured.", gate.drain_tokens_per_s)
        self._gauge("brownout_level", "The highest level of brown-out, 0 to 4.", brown_out.highest)
        waiting = Gauge("keepword_admission_waiting", "Work that waits.", ["priority"], registry=self._registry)
        for priority in Priority:
            waiting.labels(priority.name.lower()).set_function(partial(gate.waiting, priority))

    def _gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        Gauge(f"keepword_admission_{name}", what, registry=self._registry).set_function(read)
