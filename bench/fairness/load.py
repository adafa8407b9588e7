"""The two questions, put to any desk: over HTTP in real time, or to admission alone in virtual time."""

import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.result import Bar, bar, quantile

TENANTS = tuple(f"t{number}" for number in range(10))
FLOOD = TENANTS[0]
SHARE_USED = 0.8  # of its tenth of the capacity, by a tenant that behaves
TIMES_ITS_SHARE = 10.0
LOADS = (1.0, 1.5, 3.0)  # times the capacity
SLO_S = 5.0  # of a turn, as its customer counts it; in overload also its deadline
PATIENCE_S = 30.0  # the deadline where the p99 is asked for: nobody is refused before
P99_RISE_LIMIT, GOODPUT_LIMIT = 1.2, 0.9


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. Times in seconds; `took_s` counts from when it was due, not from when it was sent."""

    tenant: str
    status: int
    took_s: float
    brownout: int = 0
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one load of `lasted_s` seconds."""

    turns: Sequence[Turn]
    lasted_s: float

    def others(self) -> list[float]:
        """Times of the turns that are not the flood's; one that was not answered took for ever."""
        return [turn.took_s if turn.status == 200 else float("inf") for turn in self.turns if turn.tenant != FLOOD]

    def goodput(self) -> float:
        """Turns answered within the SLO, per second."""
        return sum(turn.status == 200 and turn.took_s <= SLO_S for turn in self.turns) / self.lasted_s

    def figures(self) -> dict[str, object]:
        """Raw enough to check the bars by."""
        levels = Counter(turn.brownout for turn in self.turns if turn.status == 200)
        refused = sum(turn.status != 200 and turn.tenant != FLOOD for turn in self.turns)
        return {
            "turns": len(self.turns),
            "status": dict(Counter(str(turn.status) for turn in self.turns)),
            "others_not_answered": refused,
            "goodput_per_s": round(self.goodput(), 4),
            "brownout_levels": {str(level): count for level, count in sorted(levels.items())},
            "others_ms": [round(took_s * 1000) for took_s in self.others() if took_s < float("inf")],
        }


class Crowd(Protocol):
    """Customers of one desk."""

    async def come(self, rates: Mapping[str, float], seconds: float, rng: random.Random, *, deadline_s: float) -> Round:
        """Poisson arrivals at `rates` (messages a second by tenant), whatever the desk does, and their ends."""
        ...

    async def saturate(self, at_once: int, seconds: float) -> float:
        """Customers who each send their next message when the last is answered; turns a second in the second half."""
        ...


def arrivals(rates: Mapping[str, float], seconds: float, rng: random.Random) -> Iterator[tuple[float, str]]:
    """(second, tenant) in order. Each tenant has a stream of its own: one that comes more often moves nobody else."""
    due = []
    for tenant, rate in sorted(rates.items()):
        own = random.Random(f"{tenant} {rng.random()}")
        at = own.expovariate(rate)
        while at < seconds:
            due.append((at, tenant))
            at += own.expovariate(rate)
    return iter(sorted(due))


@dataclass
class Measured:
    """Rounds of one desk."""

    capacity: float
    fair: list[tuple[Round, Round]] = field(default_factory=list)
    overload: list[list[Round]] = field(default_factory=list)

    async def warm(self, crowd: Crowd, seconds: float) -> None:
        """Let the desk learn what its engine does, at the load it will have."""
        rates = {tenant: self.capacity / len(TENANTS) for tenant in TENANTS}
        await crowd.come(rates, seconds, random.Random(0), deadline_s=PATIENCE_S)

    async def ask_fair(self, crowd: Crowd, seconds: float, rng: random.Random) -> None:
        """Without the flood and with it; the others come at the same moments in both."""
        share, moments = self.capacity / len(TENANTS), rng.random()
        calm = {tenant: share * SHARE_USED for tenant in TENANTS}
        pair = [
            await crowd.come(rates, seconds, random.Random(moments), deadline_s=PATIENCE_S)
            for rates in (calm, calm | {FLOOD: share * TIMES_ITS_SHARE})
        ]
        self.fair.append((pair[0], pair[1]))

    async def ask_overload(self, crowd: Crowd, seconds: float, rng: random.Random) -> None:
        rates = [{tenant: self.capacity * load / len(TENANTS) for tenant in TENANTS} for load in LOADS]
        self.overload.append([await crowd.come(each, seconds, rng, deadline_s=SLO_S) for each in rates])

    def bars(self, where: str) -> dict[str, Bar]:
        """Medians over the rounds of what was asked."""
        found = {f"capacity_turns_per_s_{where}": bar(self.capacity, None)}
        if self.fair:
            found[f"others_p99_with_flood_over_without_{where}"] = bar(statistics.median(self.rises), P99_RISE_LIMIT)
        if self.overload:
            found[f"goodput_at_3x_over_peak_{where}"] = bar(statistics.median(self.kept), GOODPUT_LIMIT, ">=")
        return found

    @property
    def rises(self) -> list[float]:
        """The p99 of the others, with the flood over without, by round."""
        return [quantile(flooded.others(), 0.99) / max(quantile(calm.others(), 0.99), 1e-6) for calm, flooded in self.fair]

    @property
    def kept(self) -> list[float]:
        """Goodput at the highest load over the best at any, by round."""
        good = [[each.goodput() for each in loads] for loads in self.overload]
        return [each[-1] / max(*each, 1e-6) for each in good]

    def detail(self) -> dict[str, Any]:
        pooled = [quantile([took for each in side for took in each.others()], 0.99) for side in zip(*self.fair, strict=True)]
        retries = [turn.retry_after_s for loads in self.overload for each in loads for turn in each.turns if turn.status == 429]
        return {
            "p99_ratio_by_round": [round(each, 4) for each in self.rises],
            "p99_s_of_all_rounds": [round(each, 4) for each in pooled],
            "goodput_ratio_by_round": [round(each, 4) for each in self.kept],
            "retry_after_s": {"least": min(retries, default=0), "most": max(retries, default=0)},
            "fair": [{"without": calm.figures(), "with": flooded.figures()} for calm, flooded in self.fair],
            "overload": [[each.figures() for each in loads] for loads in self.overload],
        }
