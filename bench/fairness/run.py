"""`keepword bench fairness`: bar 5 of the serving layer, over the real HTTP app and admission, and a simulated engine.

(a) Ten tenants come at 80 % of their tenth of the capacity; then one of them at ten times its tenth. By how much does the p99
of the other nine rise? (b) The desk is offered more and more, up to three times its capacity. What is left of its goodput?
"""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fairness.customers import Crowd, Round, client
from bench.fairness.served import PROFILE, running_desk
from bench.result import BenchResult, bar

TENANTS = tuple(f"t{number}" for number in range(10))
FLOOD = TENANTS[0]
SHARE_USED = 0.8  # of its tenth of the capacity, by a tenant that behaves
TIMES_ITS_SHARE = 10.0
SLO_S = 5.0  # of a turn, as its customer counts it
LOADS = (0.8, 1.0, 1.5, 3.0)  # times the capacity
P99_RISE_LIMIT, GOODPUT_LIMIT = 1.2, 0.9
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds and rounds."""

    rounds: int = 5
    saturate_s: float = 60.0
    fair_s: float = 120.0
    load_s: float = 30.0
    at_once: int = 40


QUICK = Sizes(rounds=1, saturate_s=6.0, fair_s=3.0, load_s=1.0, at_once=16)


async def run(*, seed: int = 0, quick: bool = False, progress: Progress | None = None) -> BenchResult:
    """Medians of five rounds; quick: one short round, whose figures say little."""
    sizes, tell = QUICK if quick else Sizes(), progress or (lambda done, total: None)
    with TemporaryDirectory(prefix="keepword-fairness-") as name, running_desk(Path(name)) as url:
        async with client() as http:
            crowd = Crowd(http, url, deadline_s=SLO_S)
            capacity = await crowd.saturate(TENANTS, sizes.at_once, sizes.saturate_s)
            fair, overload = [], []
            for number in range(sizes.rounds):
                rng = random.Random(f"{seed} {number}")
                fair.append(await _fair(crowd, capacity, sizes, rng))
                tell(2 * number + 1, 2 * sizes.rounds)
                overload.append(await _overload(crowd, capacity, sizes, rng))
                tell(2 * number + 2, 2 * sizes.rounds)
    return _result(capacity, fair, overload)


async def _fair(crowd: Crowd, capacity: float, sizes: Sizes, rng: random.Random) -> tuple[Round, Round]:
    """Without the flood and with it; the others come at the same moments in both."""
    share, moments = capacity / len(TENANTS), rng.random()
    calm = {tenant: share * SHARE_USED for tenant in reversed(TENANTS)}
    flooded = calm | {FLOOD: share * TIMES_ITS_SHARE}
    without = await crowd.come(calm, sizes.fair_s, random.Random(moments))
    return without, await crowd.come(flooded, sizes.fair_s, random.Random(moments))


async def _overload(crowd: Crowd, capacity: float, sizes: Sizes, rng: random.Random) -> list[Round]:
    rates = [{tenant: capacity * load / len(TENANTS) for tenant in TENANTS} for load in LOADS]
    return [await crowd.come(each, sizes.load_s, rng) for each in rates]


def _result(capacity: float, fair: Sequence[tuple[Round, Round]], overload: Sequence[Sequence[Round]]) -> BenchResult:
    rises = [flooded.p(0.99, but=FLOOD) / max(calm.p(0.99, but=FLOOD), 1e-6) for calm, flooded in fair]
    good = [[each.goodput(SLO_S) for each in loads] for loads in overload]
    kept = [each[-1] / max(*each, 1e-6) for each in good]
    refused = [sum(turn.status == 429 and turn.tenant != FLOOD for turn in flooded.turns) for _, flooded in fair]
    retries = [turn.retry_after_s for loads in overload for each in loads for turn in each.turns if turn.status == 429]
    bars = {
        "others_p99_with_flood_over_without": bar(statistics.median(rises), P99_RISE_LIMIT),
        "goodput_at_3x_over_peak": bar(statistics.median(kept), GOODPUT_LIMIT, ">="),
        "others_refused_in_flood": bar(statistics.median(refused), None),
        "capacity_turns_per_s": bar(capacity, None),
    }
    detail: dict[str, Any] = {
        "engine": f"simulated, profile {PROFILE}",
        "slo_s": SLO_S,
        "p99_ratio_by_round": [round(each, 4) for each in rises],
        "goodput_ratio_by_round": [round(each, 4) for each in kept],
        "loads": list(LOADS),
        "goodput_per_s_by_round": [[round(each, 3) for each in loads] for loads in good],
        "retry_after_s": {"least": min(retries, default=0), "most": max(retries, default=0)},
        "fair": [
            {"without": calm.figures(SLO_S, but=FLOOD), "with": flooded.figures(SLO_S, but=FLOOD)} for calm, flooded in fair
        ],
        "overload": [[each.figures(SLO_S) for each in loads] for loads in overload],
    }
    return BenchResult("bench fairness", bars, detail)
