"""`keepword bench simulate`: a marketplace's day on a fleet of simulated engines: what it attains, needs and costs.

The day itself runs in aggregate (`fleet.py`, which says what is approximated). The same run holds that aggregate against the
exact simulation (`exact.py`) of a small fleet through a burst it cannot carry, a replica's death and the autoscaler's answers.
Only the engines are paid for here: what desks, databases and traffic cost is not in the figures.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.fleet.arrivals import Burst, Day
from bench.fleet.autoscaler import AutoscalingConfig
from bench.fleet.exact import ExactFleet
from bench.fleet.fleet import Outcome, Plan, run_fleet
from bench.fleet.service import Service, sample_service
from bench.result import BenchResult, bar
from bench.simulator.profile import Profile

AIMED_LOAD: Final = 0.6  # share of a replica's capacity at which the autoscaler is content
CHECK_SEEDS: Final = 2
CHECK_REPLICAS: Final = 3
CHECK_S: Final = 600.0
CHECK_BURST: Final = 4.0
QUICK_HOURS: Final = 3
MAX_SHARE_OFF: Final = 0.03
MAX_RATIO_OFF: Final = 0.15
MAX_RUN_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """`price_per_hour_usd`: of one replica. `resolved`: share of sessions that end without a person (an assumption: measure
    your own). `aimed_load`: share of a replica's capacity the autoscaler aims at. The rest as in `Plan` and `Day`."""

    users: float
    price_per_hour_usd: float
    contacts_per_user: float = 0.01
    turns: float = 3.5
    think_s: float = 45.0
    bursts: int = 4
    burst_factor: float = 2.0
    resolved: float = 0.8
    slo_s: float = 2.0
    attained: float = 0.95
    max_ongoing_requests: int = 64
    aimed_load: float = AIMED_LOAD
    cold_start_s: float = 120.0
    failures_per_replica_day: float = 0.1
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    min_replicas: int = 2


async def run(profile: Profile, wanted: Wanted, *, seed: int, quick: bool, progress: Callable[[int, int], None]) -> BenchResult:
    """Sample the engine, simulate the day, check the aggregate against the exact fleet."""
    return await asyncio.to_thread(_run, profile, wanted, seed, quick, progress)


def _run(profile: Profile, wanted: Wanted, seed: int, quick: bool, progress: Callable[[int, int], None]) -> BenchResult:
    began = time.monotonic()
    service = sample_service(profile, seed=seed, max_ongoing_requests=wanted.max_ongoing_requests, turns=600 if quick else 3000)
    plan = day_plan(wanted, service, seed)
    if quick:
        plan = replace(plan, begins_s=10 * 3600.0, lasts_s=QUICK_HOURS * 3600.0)
    outcome = run_fleet(plan, service, seed=seed, progress=progress)
    day_s = time.monotonic() - began
    checked = _checked(profile, wanted, service, seed, 1 if quick else CHECK_SEEDS)
    gpu_hours = outcome.replica_s / 3600
    bars = {
        "slo_attained": bar(outcome.attained, wanted.attained, ">="),
        "aggregate_attained_off": bar(abs(checked["aggregate"]["attained"] - checked["exact"]["attained"]), MAX_SHARE_OFF),
        "aggregate_turn_p50_off": bar(_off(checked, "turn_p50_s"), MAX_RATIO_OFF),
        "aggregate_gpu_hours_off": bar(_off(checked, "gpu_hours"), MAX_RATIO_OFF),
        "day_run_s": bar(day_s, MAX_RUN_S),
        "gpu_hours": bar(gpu_hours, None),
        "cost_per_1000_resolved_cases_usd": bar(_cost_usd(outcome, wanted) / (outcome.sessions * wanted.resolved) * 1000, None),
    }
    return BenchResult("bench simulate", bars, _detail(profile, wanted, plan, service, outcome, checked))


def _cost_usd(outcome: Outcome, wanted: Wanted) -> float:
    return outcome.replica_s / 3600 * wanted.price_per_hour_usd


def day_plan(wanted: Wanted, service: Service, seed: int) -> Plan:
    """The day, and the autoscaler content with `aimed_load` of a replica's capacity."""
    rng = np.random.default_rng(seed)
    day = Day.with_bursts(
        wanted.users,
        rng,
        bursts=wanted.bursts,
        factor=wanted.burst_factor,
        contacts_per_user=wanted.contacts_per_user,
        turns=wanted.turns,
        think_s=wanted.think_s,
    )
    scaling = AutoscalingConfig(
        _ongoing_at(service, wanted.aimed_load),
        min_replicas=wanted.min_replicas,
        upscale_delay_s=wanted.upscale_delay_s,
        downscale_delay_s=wanted.downscale_delay_s,
    )
    first_turns_per_s = float(day.sessions_per_s(np.array([0.0]))[0]) * day.turns
    replicas = max(wanted.min_replicas, round(first_turns_per_s / (wanted.aimed_load * service.capacity_per_s)))
    return Plan(
        day,
        scaling,
        replicas,
        wanted.max_ongoing_requests,
        slo_s=wanted.slo_s,
        cold_start_s=wanted.cold_start_s,
        failures_per_replica_day=wanted.failures_per_replica_day,
    )


def _ongoing_at(service: Service, load: float) -> float:
    """Turns under way on one replica at a share of its capacity (Little's law)."""
    return load * service.capacity_per_s * float(service.at(load).mean())


def _checked(profile: Profile, wanted: Wanted, service: Service, seed: int, seeds: int) -> dict[str, dict[str, float]]:
    """Ten minutes of a small fleet, in aggregate and exactly; means over `seeds`."""
    sessions_per_s = CHECK_REPLICAS * wanted.aimed_load * service.capacity_per_s / wanted.turns
    begins_s = 11 * 3600.0
    calm = Day(1.0, 1.0, wanted.turns, wanted.think_s)
    users = sessions_per_s / float(calm.sessions_per_s(np.array([begins_s]))[0])
    day = replace(calm, users=users, bursts=(Burst(begins_s + 150, 150, CHECK_BURST),))
    scaling = AutoscalingConfig(
        _ongoing_at(service, wanted.aimed_load), min_replicas=1, upscale_delay_s=15.0, downscale_delay_s=90.0
    )
    plan = Plan(
        day,
        scaling,
        CHECK_REPLICAS,
        wanted.max_ongoing_requests,
        slo_s=wanted.slo_s,
        cold_start_s=45.0,
        failures_per_replica_day=0.0,
        deaths_s=(begins_s + 450,),
        begins_s=begins_s,
        lasts_s=CHECK_S,
    )
    aggregate = [run_fleet(plan, service, seed=seed + one) for one in range(seeds)]
    exact = [ExactFleet(plan, profile, seed=seed + one).run() for one in range(seeds)]
    return {name: _means(outcomes) for name, outcomes in (("aggregate", aggregate), ("exact", exact))}


def _means(outcomes: list[Outcome]) -> dict[str, float]:
    return {
        "attained": mean(one.attained for one in outcomes),
        "turn_p50_s": mean(one.quantile_s(0.5) for one in outcomes),
        "turn_p95_s": mean(one.quantile_s(0.95) for one in outcomes),
        "gpu_hours": mean(one.replica_s / 3600 for one in outcomes),
        "turns": mean(one.turns for one in outcomes),
        "most_replicas": mean(one.most_replicas for one in outcomes),
    }


def _off(checked: dict[str, dict[str, float]], figure: str) -> float:
    return abs(checked["aggregate"][figure] / checked["exact"][figure] - 1)


def _detail(
    profile: Profile, wanted: Wanted, plan: Plan, service: Service, outcome: Outcome, checked: dict[str, dict[str, float]]
) -> dict[str, Any]:
    cost_usd = _cost_usd(outcome, wanted)
    hours = [
        {
            "hour": number + int(plan.begins_s // 3600),
            "turns_per_s": round(hour.turns / 3600, 1),
            "replicas": round(hour.replica_s / 3600, 1),
            "attained": round(hour.within / hour.turns, 4) if hour.turns else 1.0,
            "most_waiting": round(hour.most_waiting),
        }
        for number, hour in enumerate(outcome.hours)
    ]
    return {
        "profile": profile.name,
        "source": profile.source,
        "wanted": asdict(wanted),
        "autoscaling_config": asdict(plan.scaling),
        "bursts": [asdict(burst) for burst in plan.day.bursts],
        "replica_capacity_turns_per_s": round(service.capacity_per_s, 2),
        "sessions": outcome.sessions,
        "turns": outcome.turns,
        "turn_s": {"p50": outcome.quantile_s(0.5), "p95": outcome.quantile_s(0.95), "p99": outcome.quantile_s(0.99)},
        "most_replicas": outcome.most_replicas,
        "failures": outcome.failures,
        "turns_begun_again": round(outcome.retried),
        "cost_usd": round(cost_usd, 2),
        "cost_per_million_turns_usd": round(cost_usd / outcome.turns * 1e6, 2) if outcome.turns else 0.0,
        "check": checked,
        "hours": hours,
    }


def show_hours(result: BenchResult) -> None:
    """The day as a table, one row an hour."""
    table = Table(title=f"{result.detail['profile']}, by the hour", title_justify="left")
    hours: list[dict[str, float]] = result.detail["hours"]
    for column in hours[0]:
        table.add_column(column, justify="right")
    for hour in hours:
        table.add_row(*(f"{value:g}" for value in hour.values()))
    Console().print(table)
