"""What turns usually take and cost, and so how fast the queue drains. Medians: one odd turn moves nothing."""

import statistics
from collections import deque
from dataclasses import dataclass, field

KEPT, RECENT_S = 64, 10.0  # the turns that count: the last ones, and of those the recent ones where there are some
STALE_S = 30.0  # what was measured longer ago is no longer believed: the engine may have recovered
FIRST_TOKENS = 100.0  # what a turn is taken to cost before any has ended


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    service_s: float


@dataclass
class Pace:
    """Feed it each ended turn that used the engine. What brown-out left of a turn is no measure of what turns cost: beside a
    flood of cut-down turns whole ones would count as long, and so never as slow."""

    _samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))
    _sizes: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _service_s: float | None = None
    _tokens: float = FIRST_TOKENS

    def ended(self, service_s: float, tokens: float, now_s: float, *, whole: bool = True) -> None:
        """`whole`: it was done in full, or nearly."""
        self._samples.append(Sample(now_s, service_s))
        if whole:
            self._sizes.append(tokens)
        recent = [each for each in self._samples if now_s - each.at_s <= RECENT_S]
        self._service_s = statistics.median(each.service_s for each in recent)
        if self._sizes:
            self._tokens = max(statistics.median(self._sizes), 1.0)

    @property
    def tokens(self) -> float:
        """The usual cost of a whole turn."""
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
