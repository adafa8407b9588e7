"""One reading of /metrics, and what changed between two of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
COUNTS: Final = ("_total", "_bucket", "_count", "_sum")
OURS: Final = ("keepword_", "process_")


@dataclass(frozen=True, slots=True)
class Reading:
    """Samples by name and labels; `at_s` on a monotonic clock."""

    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def of(cls, text: str, at_s: float) -> "Reading":
        """From Prometheus' text format. Raises ValueError for what is none."""
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name.startswith(OURS) else ():
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(at_s, samples)

    def sum(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self._found(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sums by one label's values, sorted by them."""
        sums: dict[str, float] = {}
        for found, value in self._found(name, labels):
            key = dict(found).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return dict(sorted(sums.items()))

    def quantiles(self, name: str, *shares: float, **labels: str) -> tuple[float | None, ...]:
        """Of a histogram's observations, interpolated inside their bucket; None where there are none."""
        edges: dict[float, float] = {}
        for found, value in self._found(f"{name}_bucket", labels):
            edge = float(dict(found)["le"])
            edges[edge] = edges.get(edge, 0.0) + value
        found_at = (_quantile(sorted(edges.items()), share) for share in shares)
        return tuple(None if each is None else round(each, 6) for each in found_at)

    def replicas(self) -> set[tuple[str, str]]:
        """(deployment, replica) of all that is in this reading."""
        return {_replica(found) for series in self.samples.values() for found in series}

    def since(self, before: "Reading") -> "Reading":
        """Counts as they grew since `before`, gauges as they are. A replica that was not there before adds nothing yet; one
        that began again counts from nothing."""
        known = before.replicas()

        def grown(name: str, series: Mapping[Labels, float]) -> dict[Labels, float]:
            earlier = before.samples.get(name, {})
            return {found: _growth(value, earlier.get(found)) for found, value in series.items() if _replica(found) in known}

        counts = {name: grown(name, series) for name, series in self.samples.items() if name.endswith(COUNTS)}
        return Reading(self.at_s, {**self.samples, **counts})

    def _found(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[Labels, float]]:
        wanted = set(labels.items())
        return ((found, value) for found, value in self.samples.get(name, {}).items() if wanted <= found)


def _replica(labels: Labels) -> tuple[str, str]:
    named = dict(labels)
    return named.get("deployment", ""), named.get("replica", "")


def _growth(now: float, before: float | None) -> float:
    return now if before is None or now < before else now - before


def _quantile(buckets: list[tuple[float, float]], share: float) -> float | None:
    """`buckets` are cumulative counts by upper edge. What lies beyond the last finite edge is told as that edge."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = share * buckets[-1][1]
    for (low, under), (high, within) in pairwise([(0.0, 0.0), *buckets]):
        if within >= rank:
            if high == float("inf"):
                return low
            return low + (high - low) * (rank - under) / (within - under) if within > under else high
    return None
