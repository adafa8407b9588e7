"""What was measured of the two sides, and what it says: ratios within a round, differences within a pair, their medians."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any, Final

from bench.overhead.client import Burst
from bench.result import Bar, BenchResult, bar, quantile

THROUGHPUT_LEAST: Final = 0.97
TTFT_MOST_MS: Final = 10.0
INTER_TOKEN_MOST: Final = 0.02


@dataclass(frozen=True, slots=True)
class Measured:
    """One side under one load in one round. `cpu_s` by process name; `engine_first_token_s`: the mean time to the first token
    that its engine told of these requests, from when its core took them in; None where it tells none."""

    side: str
    round: int
    concurrency: int
    burst: Burst
    cpu_s: dict[str, float]
    engine_first_token_s: float | None = None

    @property
    def outside_ms(self) -> float | None:
        """Mean milliseconds of the first token that passed outside the engine's core. How fast that was, which differs from
        start to start by far more than what a server adds, is not in it. What comes while a step is under way is taken in when
        it ends, and that wait is: as much as a server's slowness costs a client, no more."""
        if self.engine_first_token_s is None:
            return None
        return (self.first_token_mean_s - self.engine_first_token_s) * 1000

    @property
    def first_token_p50_s(self) -> float:
        return quantile([request.first_token_s for request in self.burst.requests], 0.5)

    @property
    def first_token_mean_s(self) -> float:
        """Steadier than the p50, which jumps by a whole step of the engine: prompts are taken in by the handful."""
        return fmean(request.first_token_s for request in self.burst.requests)

    @property
    def inter_token_p50_s(self) -> float:
        return quantile([request.inter_token_s for request in self.burst.requests], 0.5)

    def told(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "round": self.round,
            "concurrency": self.concurrency,
            "tokens_per_s": round(self.burst.tokens_per_s, 2),
            "first_token_p50_s": round(self.first_token_p50_s, 4),
            "first_token_mean_s": round(self.first_token_mean_s, 4),
            "inter_token_p50_s": round(self.inter_token_p50_s, 5),
            "first_token_outside_engine_ms": None if self.outside_ms is None else round(self.outside_ms, 2),
            "cpu_s": self.cpu_s,
        }


def joined(visits: Sequence[Measured]) -> Measured:
    """Visits to one side under one load in one round, alike in their number of requests, as one: all their requests, times that
    add up, and the mean of the engine's means."""
    first, cpu_s = visits[0], Counter[str]()
    for visit in visits:
        cpu_s.update(visit.cpu_s)
    requests = tuple(request for visit in visits for request in visit.burst.requests)
    burst = Burst(requests, sum(visit.burst.elapsed_s for visit in visits))
    told = [visit.engine_first_token_s for visit in visits if visit.engine_first_token_s is not None]
    engine_s = fmean(told) if len(told) == len(visits) else None
    return replace(first, burst=burst, cpu_s={name: round(cpu_s[name], 3) for name in cpu_s}, engine_first_token_s=engine_s)


@dataclass(frozen=True, slots=True)
class Pair:
    """The same prompts to both sides, one at once after the other: the p50 of their first tokens in seconds."""

    round: int
    concurrency: int
    ours_s: float
    bare_s: float

    @property
    def added_ms(self) -> float:
        return (self.ours_s - self.bare_s) * 1000


def result(
    measured: Sequence[Measured], names: Sequence[str], idle: dict[str, float], in_pairs: Sequence[Pair] = ()
) -> BenchResult:
    """Ratios within each round, medians over rounds; the first token over all pairs, where a load has some. `names`: ours,
    then the bare one."""
    ours, bare = names
    bars: dict[str, Bar] = {}
    for concurrency in sorted({one.concurrency for one in measured}):
        of = {(one.side, one.round): one for one in measured if one.concurrency == concurrency}
        pairs = [(of[ours, number], of[bare, number]) for number in sorted({number for _, number in of})]
        throughput = median(a.burst.tokens_per_s / b.burst.tokens_per_s for a, b in pairs)
        of_pairs = [pair.added_ms for pair in in_pairs if pair.concurrency == concurrency]
        first_ms = median(of_pairs or [(a.first_token_p50_s - b.first_token_p50_s) * 1000 for a, b in pairs])
        inter = median(a.inter_token_p50_s / b.inter_token_p50_s - 1 for a, b in pairs)
        bars[f"throughput_ratio_{concurrency}"] = bar(throughput, THROUGHPUT_LEAST, ">=")
        bars[f"added_first_token_p50_ms_{concurrency}"] = bar(first_ms, TTFT_MOST_MS)
        bars[f"added_inter_token_{concurrency}"] = bar(inter, INTER_TOKEN_MOST)
        outside = [(a.outside_ms, b.outside_ms) for a, b in pairs]
        added = [mine - theirs for mine, theirs in outside if mine is not None and theirs is not None]
        if added:
            bars[f"added_outside_engine_ms_{concurrency}"] = bar(median(added), TTFT_MOST_MS)
    prompt_tokens = [float(request.prompt_tokens) for one in measured for request in one.burst.requests]
    detail = {
        "sides": list(names),
        "prompt_tokens_p50": quantile(prompt_tokens, 0.5),
        "idle_cpu_s_per_s": idle,
        "first_token_s": first_tokens(measured),
        "first_token_in_pairs": paired(in_pairs),
        "cpu_ms_per_token": cpu_per_token(measured),
        "rounds": [one.told() for one in measured],
    }
    return BenchResult("bench overhead", bars, detail)


def first_tokens(measured: Sequence[Measured]) -> dict[str, dict[str, dict[str, float]]]:
    """Side -> load -> least, median and most of the rounds' p50, and the median of their means: how far one side is from itself
    is how little a difference between two may mean."""
    told: dict[str, dict[str, dict[str, float]]] = {}
    for side, concurrency in sorted({(one.side, one.concurrency) for one in measured}):
        of = [one for one in measured if (one.side, one.concurrency) == (side, concurrency)]
        p50s = [one.first_token_p50_s for one in of]
        figures = {"p50_least": min(p50s), "p50": median(p50s), "p50_most": max(p50s)}
        figures["mean"] = median(one.first_token_mean_s for one in of)
        told.setdefault(side, {})[str(concurrency)] = {name: round(value, 4) for name, value in figures.items()}
    return told


def paired(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Load -> how many pairs, both sides' p50 in seconds, and the quartiles of what ours added in milliseconds."""
    told: dict[str, dict[str, float]] = {}
    for concurrency in sorted({pair.concurrency for pair in pairs}):
        of = [pair for pair in pairs if pair.concurrency == concurrency]
        added = {f"added_ms_p{share}": quantile([pair.added_ms for pair in of], share / 100) for share in (25, 50, 75)}
        p50s = {"ours_s": median(pair.ours_s for pair in of), "bare_s": median(pair.bare_s for pair in of)}
        told[str(concurrency)] = {"pairs": len(of)} | {name: round(value, 4) for name, value in (p50s | added).items()}
    return told


def cpu_per_token(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Side -> load -> CPU milliseconds of all its processes for an output token, median over rounds. Steadier than times on a
    machine that does other things too."""
    told: dict[str, dict[str, float]] = {}
    for side in sorted({one.side for one in measured}):
        for concurrency in sorted({one.concurrency for one in measured}):
            costs = [
                sum(one.cpu_s.values()) * 1000 / sum(request.completion_tokens for request in one.burst.requests)
                for one in measured
                if (one.side, one.concurrency) == (side, concurrency)
            ]
            told.setdefault(side, {})[str(concurrency)] = round(median(costs), 3)
    return told
