"""What turns usually take and cost, and so how fast the queue drains. Medians: one odd turn moves nothing."""

import statistics
from collections import deque
from dataclasses import dataclass, field

KEPT = 128
STALE_S = 30.0  # what was measured longer ago is no longer believed: the engine may have recovered
FIRST_TOKENS = 100.0  # what a turn is taken to cost before any has ended


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    service_s: float
    tokens: float


@dataclass
class Pace:
    """Feed it each ended turn that used the engine."""

    _samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))
    _service_s: float | None = None
    _tokens: float = FIRST_TOKENS

    def ended(self, service_s: float, tokens: float, now_s: float) -> None:
        self._samples.append(Sample(now_s, service_s, tokens))
        self._service_s = statistics.median(each.service_s for each in self._samples)
        self._tokens = max(statistics.median(each.tokens for each in self._samples), 1.0)

    @property
    def tokens(self) -> float:
        """The usual cost of a turn."""
        return self._tokens

    def service_s(self, now_s: float, tokens: float | None = None) -> float | None:
        """How long a turn takes now, one of `tokens` in proportion where it is longer than usual. None while unknown."""
        if self._service_s is None or now_s - self._samples[-1].at_s > STALE_S:
            return None
        return self._service_s * max(1.0, (tokens or 0.0) / self._tokens)

    def tokens_per_s(self, limit: float, now_s: float) -> float | None:
        """What leaves a full engine: by Little's law `limit` turns of the usual cost in the usual time. None while unknown."""
        service_s = self.service_s(now_s)
        return None if service_s is None else limit * self._tokens / max(service_s, 1e-3)
