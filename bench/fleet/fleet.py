"""The fleet second by second, in aggregate: millions of turns a day cost what a day of seconds costs.

Approximated: within a second all replicas carry the same share of the turns, and a turn takes what it takes at that load for
as long as the load lasts (the sampled `Service`, whose arrivals are random already). What exceeds the capacity waits, first
come, first served, as a fluid. A replica taken away is gone at once. Not approximated: the autoscaler's rule, cold starts,
failures one by one, customers who think. `exact.py` simulates every step of every replica instead; `bench simulate` holds the
two against each other at a small size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.fleet.arrivals import DAY_S, Day, returning
from bench.fleet.autoscaler import Autoscaler, AutoscalingConfig
from bench.fleet.service import Service

SMOOTHING_S: Final = 10.0  # over which a replica's load is felt: the time its batch takes to turn over


@dataclass(frozen=True, slots=True)
class Plan:
    """`max_ongoing_requests`: turns a replica takes before the router keeps the next. `cold_start_s`: from the decision to a
    replica that serves. `failures_per_replica_day`: replicas that die, each replaced by a cold one; `deaths_s`: seconds
    at which one dies for certain. `slo_s`: the first verified sentence within."""

    day: Day
    scaling: AutoscalingConfig
    replicas: int
    max_ongoing_requests: int
    slo_s: float = 2.0
    cold_start_s: float = 120.0
    failures_per_replica_day: float = 0.1
    deaths_s: tuple[float, ...] = ()
    begins_s: float = 0.0
    lasts_s: float = DAY_S


@dataclass(slots=True)
class Hour:
    """Sums over an hour; `replicas` is the mean of those paid for."""

    turns: int = 0
    within: float = 0.0
    replica_s: float = 0.0
    most_waiting: float = 0.0


@dataclass(slots=True)
class Outcome:
    """Of the whole period. `took_s`: a weighted sample of turn times, for quantiles. `replica_s` counts cold starts too."""

    sessions: int = 0
    turns: int = 0
    within: float = 0.0
    replica_s: float = 0.0
    failures: int = 0
    retried: float = 0.0
    most_replicas: int = 0
    weights: dict[float, float] = field(default_factory=dict)
    hours: list[Hour] = field(default_factory=list)

    @property
    def attained(self) -> float:
        return self.within / self.turns if self.turns else 1.0

    def quantile_s(self, share: float) -> float:
        """A quantile of the turns' times, to 10 ms."""
        wanted, sum_ = share * sum(self.weights.values()), 0.0
        for seconds in sorted(self.weights):
            sum_ += self.weights[seconds]
            if sum_ >= wanted:
                return seconds
        return 0.0

    def took(self, seconds: float, weight: float) -> None:
        key = round(min(seconds, 600.0), 2)
        self.weights[key] = self.weights.get(key, 0.0) + weight


class Fleet:
    """State between two seconds."""

    def __init__(self, plan: Plan, service: Service, rng: np.random.Generator) -> None:
        self._plan, self._service, self._rng = plan, service, rng
        self._scaler = Autoscaler(plan.scaling, plan.replicas)
        self._ready, self._starting = plan.replicas, []  # type: int, list[float]
        self._thinking, self._waiting = 0, 0.0
        self._rate_per_s = 0.0
        self._unfinished = 0.0
        self.outcome = Outcome(most_replicas=plan.replicas)

    def second(self, now_s: float, sessions: int) -> None:
        """One second in which `sessions` begin."""
        plan, outcome = self._plan, self.outcome
        self._start_and_fail(now_s)
        back = returning(self._thinking, 1.0, plan.day.think_s, self._rng)
        self._thinking -= back
        turns = sessions + back
        self._rate_per_s += (turns - self._rate_per_s) / SMOOTHING_S
        capacity_per_s = max(self._ready, 1e-9) * self._service.capacity_per_s
        waited_s = self._waiting / capacity_per_s
        self._waiting = max(0.0, self._waiting + self._rate_per_s - capacity_per_s)
        took = self._service.at(self._rate_per_s / capacity_per_s)
        if self._waiting:
            took = np.maximum(took, self._service.full_s)
        within = float(np.searchsorted(took, plan.slo_s - waited_s, side="right")) / len(took)
        outcome.sessions += sessions
        outcome.turns += turns
        outcome.within += within * turns
        for seconds in took[5::10]:
            outcome.took(float(seconds) + waited_s, turns / 10)
        mean_s = float(took.mean())
        self._finish(turns, mean_s + waited_s)
        self._scale(now_s, self._rate_per_s * mean_s + self._waiting)
        self._account(now_s, turns, within)

    def _start_and_fail(self, now_s: float) -> None:
        warm = sum(1 for ready_at in self._starting if ready_at <= now_s)
        if warm:
            self._starting = [ready_at for ready_at in self._starting if ready_at > now_s]
            self._ready += warm
        by_chance = int(self._rng.binomial(self._ready, self._plan.failures_per_replica_day / DAY_S))
        dead = min(self._ready, by_chance + (now_s in self._plan.deaths_s))
        if dead:
            # What the dead ones had under way begins again elsewhere; Serve starts others in their place.
            lost = dead / self._ready * self._rate_per_s * float(self._service.at(0.5).mean())
            self.outcome.failures += dead
            self.outcome.retried += lost
            self._waiting += lost
            self._ready -= dead
            self._starting += [now_s + self._plan.cold_start_s] * dead

    def _finish(self, turns: int, mean_s: float) -> None:
        """Turns end after their time; most customers then think about an answer."""
        self._unfinished += turns
        ended = int(self._rng.poisson(self._unfinished * (1.0 - math.exp(-1.0 / max(mean_s, 0.05)))))
        ended = min(ended, int(self._unfinished))
        self._unfinished -= ended
        self._thinking += int(self._rng.binomial(ended, self._plan.day.goes_on))

    def _scale(self, now_s: float, ongoing: float) -> None:
        target = self._scaler.decide(now_s, ongoing, self._ready)
        have = self._ready + len(self._starting)
        if target > have:
            self._starting += [now_s + self._plan.cold_start_s] * (target - have)
        elif target < have:
            given_up = min(len(self._starting), have - target)  # those not yet warm go first
            if given_up:
                self._starting = self._starting[:-given_up]
            self._ready -= have - target - given_up

    def _account(self, now_s: float, turns: int, within: float) -> None:
        outcome, paid = self.outcome, self._ready + len(self._starting)
        outcome.replica_s += paid
        outcome.most_replicas = max(outcome.most_replicas, paid)
        number = int((now_s - self._plan.begins_s) // 3600)
        while len(outcome.hours) <= number:
            outcome.hours.append(Hour())
        hour = outcome.hours[number]
        hour.turns += turns
        hour.within += within * turns
        hour.replica_s += paid
        hour.most_waiting = max(hour.most_waiting, self._waiting)


def run_fleet(
    plan: Plan, service: Service, *, seed: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> Outcome:
    """The plan's period, second by second. Deterministic by seed."""
    rng = np.random.default_rng(seed)
    fleet = Fleet(plan, service, rng)
    at_s = np.arange(plan.begins_s, plan.begins_s + plan.lasts_s, 1.0)
    begun = rng.poisson(plan.day.sessions_per_s(at_s))
    for number, (now_s, sessions) in enumerate(zip(at_s, begun, strict=True)):
        fleet.second(float(now_s), int(sessions))
        if number % 3600 == 0:
            progress(number, len(at_s))
    progress(len(at_s), len(at_s))
    return fleet.outcome
