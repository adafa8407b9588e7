"""What replicas do at each load, sampled once from the exact simulator: how long turns take, and how many one can serve."""

import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.fleet.router import Router
from bench.simulator.desk_turns import TurnShape, saturated
from bench.simulator.profile import Profile
from bench.simulator.timing import VirtualTime

LOADS: Final = (0.02, 0.2, 0.4, 0.55, 0.7, 0.8, 0.88, 0.94)
QUANTILES: Final = 101
TURNS_A_LOAD: Final = 3000
GROUP: Final = 4  # replicas that share the arrivals: a router with a choice lets few turns wait
CALLERS: Final = 256


@dataclass(frozen=True, slots=True)
class Service:
    """`capacity_per_s`: turns one replica serves with `max_ongoing_requests` under way and never less. `took_s`: (loads,
    quantiles 0 to 1) of the seconds from a message to its first sentence; loads as shares of the capacity."""

    capacity_per_s: float
    max_ongoing_requests: int
    loads: NDArray[np.float64]
    took_s: NDArray[np.float64]

    def at(self, load: float) -> NDArray[np.float64]:
        """Quantiles of a turn's time at a share of the capacity; outside the sampled loads, that of the nearest."""
        load = min(max(load, float(self.loads[0])), float(self.loads[-1]))
        above = max(1, int(np.searchsorted(self.loads, load)))
        low, high = self.loads[above - 1], self.loads[above]
        part = (load - low) / (high - low)
        mixed: NDArray[np.float64] = (1 - part) * self.took_s[above - 1] + part * self.took_s[above]
        return mixed

    @property
    def full_s(self) -> float:
        """Seconds in a replica that has all it may take."""
        return self.max_ongoing_requests / self.capacity_per_s


def sample_service(
    profile: Profile, *, seed: int, max_ongoing_requests: int, shape: TurnShape | None = None, turns: int = TURNS_A_LOAD
) -> Service:
    """Run a group of exact replicas at every load, for about `turns` turns each."""
    callers = min(max_ongoing_requests, CALLERS)
    capacity_per_s = saturated(profile, callers=callers, turns=max(turns, 5 * callers), seed=seed, shape=shape)
    rows = []
    for load in LOADS:
        # At a small load fewer turns do: nothing waits for anything there.
        wanted = turns * min(1.0, 0.2 + load)
        took = _took(profile, GROUP * load * capacity_per_s, int(wanted), seed, max_ongoing_requests, shape)
        rows.append(np.quantile(took, np.linspace(0, 1, QUANTILES)))
    return Service(capacity_per_s, max_ongoing_requests, np.array(LOADS), np.array(rows))


def _took(profile: Profile, rate_per_s: float, turns: int, seed: int, max_ongoing: int, shape: TurnShape | None) -> list[float]:
    """Seconds that turns arriving at random take; the first fifth, which finds the replicas empty, is left out."""
    time, rng = VirtualTime(), random.Random(seed)
    router = Router(profile, time, rng, max_ongoing=max_ongoing, shape=shape)
    for _ in range(GROUP):
        router.add()
    took: list[float] = []
    at_s = 0.0
    for number in range(turns):
        at_s += rng.expovariate(rate_per_s)
        count = took.append if number > turns // 5 else _ignored
        time.call_at(at_s, lambda count=count: router.send(count))  # type: ignore[misc]  # bound now, not at the call
    time.run()
    return took


def _ignored(_took_s: float) -> None:
    return None
