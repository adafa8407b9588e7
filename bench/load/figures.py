"""What a worker counts and times, in windows that add up: over time, over processes, over the whole load."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

LOWEST_US, HIGHEST_US, DIGITS = 1, 3_600_000_000, 3
# from the intended send time; `…_sent` from the real one; `gap` between chunks of one reply; `late` is the
# generator's own delay; `open` how long it took to open a session
TIMES = ("turn", "turn_sent", "first_sentence", "first_sentence_sent", "ttft", "ttft_sent", "gap", "late", "open")


@dataclass(frozen=True, slots=True)
class Window:
    """What one worker saw between `begin_s` and `end_s` after the start of the load. Histograms are in microseconds, encoded
    and compressed as HdrHistogram does. `counts` are sums; `open` and `in_flight` are how many there are now."""

    worker: int
    begin_s: float
    end_s: float
    counts: Mapping[str, int]
    histograms: Mapping[str, str]
    sessions_open: int
    in_flight: int
    overdue: int
    cpu_s: float


@dataclass(slots=True)
class Figures:
    """Counters and latency histograms, added up from outcomes or from windows."""

    counts: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, HdrHistogram] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] += by

    def time(self, what: str, seconds: float) -> None:
        """Record a duration; below zero counts as zero."""
        if what not in self.histograms:
            self.histograms[what] = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        self.histograms[what].record_value(max(LOWEST_US, round(seconds * 1e6)))

    def add(self, window: Window) -> None:
        self.counts.update(window.counts)
        for what, encoded in window.histograms.items():
            if what in self.histograms:
                self.histograms[what].decode_and_add(encoded)
            else:
                self.histograms[what] = HdrHistogram.decode(encoded)

    def encoded(self) -> dict[str, str]:
        return {what: histogram.encode().decode() for what, histogram in self.histograms.items()}

    def at(self, what: str, quantile: float) -> float:
        """Seconds at `quantile` (0 to 1); 0 when nothing was recorded."""
        histogram = self.histograms.get(what)
        return histogram.get_value_at_percentile(quantile * 100) / 1e6 if histogram else 0.0

    def summary(self, what: str) -> dict[str, float]:
        """p50, p90, p99, p99.9, the mean and the highest, in seconds, and how many."""
        histogram = self.histograms.get(what)
        if histogram is None:
            return {"count": 0}
        quantiles = {f"p{q * 100:g}": round(self.at(what, q), 6) for q in (0.5, 0.9, 0.99, 0.999)}
        mean, highest = histogram.get_mean_value() / 1e6, histogram.get_max_value() / 1e6
        return {**quantiles, "mean": round(mean, 6), "max": round(highest, 6), "count": histogram.get_total_count()}

    def of(self, prefix: str) -> dict[str, int]:
        """Counts by kind, `prefix` cut off."""
        return {name.removeprefix(prefix): n for name, n in sorted(self.counts.items()) if name.startswith(prefix)}


def total(windows: Iterable[Window]) -> Figures:
    figures = Figures()
    for window in windows:
        figures.add(window)
    return figures
