"""What /metrics tells. One registry per desk, built in wiring."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)


class Metrics:
    """Counters and histograms of turns. Stage times come from `TurnDone.timings`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._turns = Counter("keepword_turns", "Turns by how they ended.", ["outcome"], registry=self.registry)
        self._stage = Histogram(
            "keepword_stage_seconds", "Time spent by stage of a turn.", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self._tokens = Counter("keepword_tokens", "Tokens by kind.", ["kind"], registry=self.registry)
        self._calls = Counter("keepword_llm_calls", "Requests to the language model.", registry=self.registry)
        self._actions = Counter(
            "keepword_actions", "Ledger lines by how they ended.", ["tool", "status"], registry=self.registry
        )
        self._handoffs = Counter("keepword_handoffs", "Sessions given to a person.", registry=self.registry)
        self._requests = Counter(
            "keepword_http_requests", "HTTP requests.", ["method", "route", "status"], registry=self.registry
        )

    def turn_done(self, usage: Mapping[str, int], timings: Mapping[str, float]) -> None:
        self._turns.labels("done").inc()
        self._calls.inc(usage.get("llm_calls", 0))
        for kind in ("prompt", "completion", "cached"):
            self._tokens.labels(kind).inc(usage.get(f"{kind}_tokens", 0))
        for stage, seconds in timings.items():
            self._stage.labels(stage).observe(seconds)

    def turn_failed(self) -> None:
        self._turns.labels("failed").inc()

    def action(self, tool: str, status: str) -> None:
        self._actions.labels(tool, status).inc()

    def handoff(self) -> None:
        self._handoffs.inc()

    def request(self, method: str, route: str, status: int) -> None:
        self._requests.labels(method, route, str(status)).inc()

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
