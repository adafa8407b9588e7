"""The same fleet without approximation, at a size a machine can carry: every replica an exact engine, every turn by itself."""

import random

import numpy as np

from bench.fleet.arrivals import DAY_S
from bench.fleet.autoscaler import Autoscaler
from bench.fleet.fleet import Outcome, Plan
from bench.fleet.router import Router
from bench.simulator.desk_turns import TurnShape
from bench.simulator.profile import Profile
from bench.simulator.timing import VirtualTime


class ExactFleet:
    """One run of a plan. Deterministic by seed."""

    def __init__(self, plan: Plan, profile: Profile, *, seed: int, shape: TurnShape | None = None) -> None:
        self._plan = plan
        self._time, self._rng = VirtualTime(), random.Random(seed)
        self._router = Router(profile, self._time, self._rng, max_ongoing=plan.max_ongoing_requests, shape=shape)
        self._scaler = Autoscaler(plan.scaling, plan.replicas)
        self._starting = 0
        self.outcome = Outcome(most_replicas=plan.replicas)
        for _ in range(plan.replicas):
            self._router.add()

    def run(self) -> Outcome:
        """The plan's period, and half a minute for its last turns."""
        plan = self._plan
        at_s = np.arange(plan.begins_s, plan.begins_s + plan.lasts_s, 1.0)
        begun = np.random.default_rng(self._rng.getrandbits(32)).poisson(plan.day.sessions_per_s(at_s))
        for number, sessions in enumerate(begun):
            for _ in range(int(sessions)):
                self._time.call_at(number + self._rng.random(), self._session)
            self._time.call_at(float(number), self._second)
        self._time.run(plan.lasts_s + 30.0)
        return self.outcome

    def _session(self) -> None:
        self.outcome.sessions += 1
        self._message()

    def _message(self) -> None:
        if self._time.time() < self._plan.lasts_s:
            self.outcome.turns += 1
            self._router.send(self._answered)

    def _answered(self, took_s: float) -> None:
        self.outcome.within += took_s <= self._plan.slo_s
        self.outcome.took(took_s, 1.0)
        if self._rng.random() < self._plan.day.goes_on:
            self._time.call_at(self._time.time() + self._rng.expovariate(1.0 / self._plan.day.think_s), self._message)

    def _second(self) -> None:
        router, outcome = self._router, self.outcome
        dying = [one for one in router.replicas if self._rng.random() < self._plan.failures_per_replica_day / DAY_S]
        if self._plan.begins_s + self._time.time() in self._plan.deaths_s:
            dying += [one for one in router.replicas if one not in dying][:1]
        for replica in dying:
            outcome.failures += 1
            outcome.retried += router.kill(replica)
            self._start()
        target = self._scaler.decide(self._time.time(), router.ongoing, len(router.replicas))
        self._resize(target - len(router.replicas) - self._starting)
        paid = len(router.replicas) + self._starting + len(router.draining)
        outcome.replica_s += paid
        outcome.most_replicas = max(outcome.most_replicas, paid)

    def _resize(self, more: int) -> None:
        for _ in range(more):
            self._start()
        for _ in range(-more):
            if self._starting:
                self._starting -= 1  # those not yet warm go first: one warm-up will find nothing to become
            elif self._router.replicas:
                self._router.drain()

    def _start(self) -> None:
        self._starting += 1
        self._time.call_at(self._time.time() + self._plan.cold_start_s, self._warm)

    def _warm(self) -> None:
        if self._starting:
            self._starting -= 1
            self._router.add()
