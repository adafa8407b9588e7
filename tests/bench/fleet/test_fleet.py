"""The fleet serves every turn exactly once whatever happens to its replicas, and the aggregate tells the same story."""

import random
from dataclasses import replace

import numpy as np
import pytest

from bench.fleet.arrivals import DAY_S, Burst, Day
from bench.fleet.autoscaler import AutoscalingConfig
from bench.fleet.exact import ExactFleet
from bench.fleet.fleet import Plan, run_fleet
from bench.fleet.router import Router
from bench.fleet.service import Service, sample_service
from bench.fleet.simulate import QUICK_HOURS, Wanted, run
from bench.simulator.profile import Limits, Profile, StepCost
from bench.simulator.timing import VirtualTime

PROFILE = Profile("test", "made up", Limits(max_num_seqs=16), StepCost(base_s=0.1, prefill_s=0.0008, sequence_s=0.004))
MAX_ONGOING = 12


@pytest.fixture(scope="module")
def service() -> Service:
    return sample_service(PROFILE, seed=1, max_ongoing_requests=MAX_ONGOING, turns=300)


def plan(**changed: object) -> Plan:
    day = Day(40_000, 1.0, turns=3.0, think_s=10.0)
    scaling = AutoscalingConfig(4.0, min_replicas=1, upscale_delay_s=5.0, downscale_delay_s=30.0)
    base = Plan(day, scaling, 2, MAX_ONGOING, slo_s=4.0, cold_start_s=10.0, begins_s=36_000.0, lasts_s=300.0)
    return replace(base, **changed)  # type: ignore[arg-type]  # fields of several types


def test_a_day_brings_the_sessions_its_users_begin_and_a_burst_more() -> None:
    at_s = np.arange(0.0, DAY_S)
    calm = Day(1e6, 0.02)
    assert calm.sessions_per_s(at_s).sum() == pytest.approx(20_000, rel=0.01)
    burst = replace(calm, bursts=(Burst(3600.0, 600.0, 3.0),))
    assert burst.sessions_per_s(at_s)[3700] == pytest.approx(3 * calm.sessions_per_s(at_s)[3700])
    assert burst.sessions_per_s(at_s)[4300] == calm.sessions_per_s(at_s)[4300]


def test_turns_take_longer_the_more_of_them_there_are(service: Service) -> None:
    medians = [float(service.at(load)[50]) for load in (0.05, 0.5, 0.9)]
    assert medians == sorted(medians)
    assert service.capacity_per_s > 1.0


def test_turns_of_a_killed_replica_begin_again_and_each_ends_once() -> None:
    time = VirtualTime()
    router = Router(PROFILE, time, random.Random(1), max_ongoing=3)
    router.add()
    router.add()
    ended: list[float] = []
    for _ in range(20):
        router.send(ended.append)
    time.run(0.3)
    assert router.kill(router.replicas[0]) == 3
    assert router.ongoing == 20
    time.run()
    assert len(ended) == 20
    assert router.ongoing == 0


def test_a_drained_replica_finishes_its_turns_and_gets_no_more() -> None:
    time = VirtualTime()
    router = Router(PROFILE, time, random.Random(1), max_ongoing=8)
    router.add()
    ended: list[float] = []
    router.send(ended.append)
    router.drain()
    assert router.draining
    router.send(ended.append)
    time.run()
    assert len(ended) == 1
    assert not router.draining
    router.add()
    time.run()
    assert len(ended) == 2


def test_the_exact_fleet_answers_every_turn_through_deaths_and_scaling() -> None:
    outcome = ExactFleet(plan(deaths_s=(36_060.0, 36_120.0)), PROFILE, seed=3).run()
    assert outcome.failures == 2
    assert sum(outcome.weights.values()) == outcome.turns > 50


def test_the_aggregate_and_the_exact_fleet_agree_where_nothing_overflows(service: Service) -> None:
    roomy = plan(replicas=4, scaling=AutoscalingConfig(4.0, min_replicas=4))
    aggregate = run_fleet(roomy, service, seed=3)
    exact = ExactFleet(roomy, PROFILE, seed=3).run()
    assert aggregate.turns == pytest.approx(exact.turns, rel=0.25)
    assert aggregate.attained == pytest.approx(exact.attained, abs=0.03)
    assert aggregate.quantile_s(0.5) == pytest.approx(exact.quantile_s(0.5), rel=0.1)


def test_one_seed_gives_one_day(service: Service) -> None:
    first, second = (run_fleet(plan(failures_per_replica_day=500.0), service, seed=9) for _ in range(2))
    assert first == second
    assert first.failures > 0


def test_more_users_than_the_fleet_may_grow_for_break_the_service_level(service: Service) -> None:
    crowded = plan(day=Day(400_000, 1.0, turns=3.0, think_s=10.0), scaling=AutoscalingConfig(4.0, max_replicas=2))
    assert run_fleet(crowded, service, seed=1).attained < 0.5


async def test_the_command_measures_its_own_approximation() -> None:
    wanted = Wanted(50_000, 1.0, slo_s=5.0, max_ongoing_requests=MAX_ONGOING)
    result = await run(PROFILE, wanted, seed=0, quick=True, progress=lambda done, of: None)
    assert result.bars["slo_attained"].ok
    assert {"aggregate_attained_off", "aggregate_turn_p50_off", "aggregate_gpu_hours_off"} <= set(result.bars)
    assert len(result.detail["hours"]) == QUICK_HOURS
    assert result.detail["check"]["exact"]["attained"] < 1.0, "the check overflows, else it shows nothing"
